"""The Open Inference Protocol v2 door, REST and gRPC.

Owns: the JSON and binary wire formats of v2, its endpoints, its error shape, the hot path for
`infer`.
Does not own: routing, admission or running (services/inference).
Source: https://github.com/kserve/open-inference-protocol and Triton's binary tensor data,
statistics and model repository extensions.
"""

import os

# Read when gRPC is imported: starting a worker forks, and gRPC would log that its own fork
# handlers do not run then.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
