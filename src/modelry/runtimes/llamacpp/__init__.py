"""GGUF models on llama.cpp, through the prebuilt `xllamacpp` wheel.

Owns: llama.cpp's server in this process, its slots, its bodies and chunks, and the traps of both.
Does not own: what all chat engines share (runtimes/chat), inspection of GGUF files.
Extend by: nothing to plug in; one engine per process (two in one process deadlock).
"""

import os

# Read by the OpenMP library when it is first loaded. Threads that wait for each other spin 300
# times and then sleep: as fast as spinning for ever on an idle machine (70 tokens/s either way;
# 35 without any spinning), and 30 instead of 23 tokens/s beside another busy process.
os.environ.setdefault("GOMP_SPINCOUNT", "300")

from modelry.runtimes.llamacpp.runtime import LlamaCppRuntime

__all__ = ["LlamaCppRuntime"]
