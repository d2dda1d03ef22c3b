"""The Open Inference Protocol v2 door, REST and gRPC.

Owns: the JSON and binary wire formats of v2, its endpoints, its error shape, the hot path for
`infer`.
Does not own: routing, admission or running (services/inference).
Source: https://github.com/kserve/open-inference-protocol and Triton's binary tensor data,
statistics and model repository extensions.
"""
