"""A bound on the memory that ONNX Runtime keeps for itself."""

from __future__ import annotations

from functools import cache

import onnxruntime as ort

_NO_CHOICE = -1
_GROW_BY_DOUBLING = 0


def bound_arena(options: ort.SessionOptions, memory_bytes: int) -> None:
    """Have sessions made with `options` take at most `memory_bytes` for tensors.

    Without a bound, one failed request for too much leaves an arena behind that has taken nearly
    all that the process may have, and the next small allocation elsewhere fails.
    """
    _register(memory_bytes)
    options.add_session_config_entry("session.use_env_allocators", "1")


@cache
def _register(memory_bytes: int) -> None:
    """The allocator of the process; a worker has one session, and so one bound."""
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    settings = {
        "max_mem": memory_bytes,
        "arena_extend_strategy": _GROW_BY_DOUBLING,
        "initial_chunk_size_bytes": _NO_CHOICE,
        "max_dead_bytes_per_chunk": _NO_CHOICE,
    }
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg(settings))
