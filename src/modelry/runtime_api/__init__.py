"""The public plugin contract: what a runtime must offer, and what crosses to a worker.

Owns: the `Runtime` and `Engine` protocols, abilities (`Supports*`), chat and tensor types,
and the binary frames between gateway and worker.
Does not own: any concrete runtime, the worker process, web or database.
Extend by: a package with an entry point in the group `modelry.runtimes`; prove it with
`modelry.testing.runtime_conformance`.
"""
