"""Runs a seccomp filter as the kernel would, without a kernel."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _RETURN, _EQUAL, _GREATER, _ANY_BIT = 0x20, 0x06, 0x15, 0x25, 0x45


def verdict(program: bytes, architecture: int, number: int, arguments: Sequence[int] = ()) -> int:
    """What `program` decides on a call."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *padded)
    instructions = list(_INSTRUCTION.iter_unpack(program))
    accumulator = at = 0
    for _ in range(len(instructions)):
        operation, if_true, if_false, operand = instructions[at]
        at += 1
        if operation == _RETURN:
            return operand
        if operation == _LOAD:
            (accumulator,) = struct.unpack_from("=I", data, operand)
            continue
        holds = {
            _EQUAL: accumulator == operand,
            _GREATER: accumulator > operand,
            _ANY_BIT: bool(accumulator & operand),
        }[operation]
        at += if_true if holds else if_false
    raise AssertionError("the filter never decides")
