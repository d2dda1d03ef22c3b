"""llama.cpp's own server over HTTP, as the engine's wheel brings it, in this process.

Usage: python -m benchmarks.engine_server FILE PORT SLOTS CONTEXT THREADS
"""

from __future__ import annotations

import sys
import threading

import xllamacpp

PROMPT_BATCH = 256
"""As in Modelry's runtime; the engine's own 2,048 is no faster and doubles the time to the first
token with several streams."""


def main(path: str, port: int, slots: int, context: int, threads: int) -> None:
    """Serve until killed."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.offline = True
    parameters.ui = False
    parameters.verbosity = 1
    parameters.n_gpu_layers = 0
    parameters.n_parallel = slots
    parameters.n_ctx = slots * context
    parameters.fit_params = False
    parameters.n_batch = parameters.n_ubatch = PROMPT_BATCH
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.cache_ram_mib = 512
    server = xllamacpp.Server(parameters)
    print("ready", flush=True)
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:6]))
