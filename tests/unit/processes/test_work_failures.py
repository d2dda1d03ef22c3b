"""What libraries raise for want of room, and what is told of it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from modelry.domain.errors import (
    MemoryExhausted,
    ModelryError,
    NotSupported,
    ScratchExhausted,
    WorkFailed,
)
from modelry.domain.jobs import is_retryable
from modelry.job_host.failures import failure_of
from modelry.runtime_api.work import WorkLimits

TORCH = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 40000000000 bytes. Error code 12 (Cannot allocate memory)"
)
CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.50 GiB free."


def told(error: BaseException, folder: Path) -> ModelryError:
    return failure_of("train", error, WorkLimits(memory_bytes=2**31, is_by_settings=True), folder)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(TORCH),
        RuntimeError(CUDA),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_want_of_memory(error: BaseException, tmp_path: Path) -> None:
    found = told(error, tmp_path)
    assert type(found) is MemoryExhausted
    assert "(2048 MiB)" in found.message
    assert ("graphics card" in found.message) == ("CUDA" in str(error))
    assert not is_retryable(found)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EFBIG, "File too large"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: No space left on device"),
    ],
)
def test_want_of_room(error: BaseException, tmp_path: Path) -> None:
    assert type(told(error, tmp_path)) is ScratchExhausted


def test_a_library_that_is_not_installed_is_named_and_not_tried_again(tmp_path: Path) -> None:
    found = told(ModuleNotFoundError("No module named 'torch'", name="torch"), tmp_path)
    assert type(found) is NotSupported
    assert "'torch'" in found.message
    assert "make training" in found.message
    assert not is_retryable(found)


def test_causes_are_looked_at(tmp_path: Path) -> None:
    surprise = KeyError("surprise")
    surprise.__context__ = ValueError("in between")
    surprise.__context__.__cause__ = MemoryError()
    assert type(told(surprise, tmp_path)) is MemoryExhausted
    looped = ValueError("a")
    looped.__cause__ = looped
    assert type(told(looped, tmp_path)) is WorkFailed


def test_anything_else_is_in_the_log(tmp_path: Path) -> None:
    found = told(KeyError("secret"), tmp_path)
    assert type(found) is WorkFailed
    assert found.message == "The work 'train' failed (KeyError); the server's log says more."
    assert is_retryable(found)
    assert type(told(RuntimeError("shapes differ"), tmp_path / "gone")) is WorkFailed
