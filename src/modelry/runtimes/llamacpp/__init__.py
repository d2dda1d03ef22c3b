"""GGUF models on llama.cpp, through the prebuilt `xllamacpp` wheel.

Owns: llama.cpp's server in this process, its slots, its bodies and chunks, and the traps of both.
Does not own: what all chat engines share (runtimes/chat), inspection of GGUF files.
Extend by: nothing to plug in; one engine per process (two in one process deadlock).
"""

from modelry.runtimes.llamacpp.runtime import LlamaCppRuntime

__all__ = ["LlamaCppRuntime"]
