"""Engines behind the runtime contract: one folder per engine library.

Owns: loading a version's files with an engine library, calling it, and turning every failure
of it into an error of ours with the engine's reason.
Does not own: processing steps, batching, the worker process. Imported only inside a worker:
nothing here may be imported by the gateway, because the engine libraries are heavy and native.
Extend by: a folder with a class that satisfies `runtime_api.engine.Runtime`, an entry point in
the group `modelry.runtimes`, and a test that inherits `testing.runtime_conformance`.
"""
