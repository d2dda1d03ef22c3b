"""The process that hosts one engine: `python -m modelry.worker --fd N`.

Owns: the frame server, batching, cancellation, heart-beats, memory limit, ending with its parent.
Does not own: when it is started or restarted (services/deployments), engines (runtimes).
"""
