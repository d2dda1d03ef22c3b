"""Jobs: long work as a persisted state machine that survives restarts.

Owns: states and their changes, the queue, leases, attempts, progress, curves, logs, artefacts.
Does not own: what a kind of job does (its `JobHandler`, in the service that it belongs to), nor the
process in which it does it (`runtime_api.work.Works`).
"""
