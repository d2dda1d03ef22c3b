"""One request, the same for every door.

Owns: authentication of calls, routing by an in-memory table, admission (bounded queues,
deadlines, cancellation), hand-over to replicas, and metering on the way out.
Does not own: starting replicas (services/deployments), parsing or rendering (protocols).
Extend by: a new kind of `Call` for a new way of answering.
"""
