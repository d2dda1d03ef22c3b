"""A small assembler for seccomp filters: classic BPF over the number and arguments of a call."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000

_LOAD, _RETURN = 0x20, 0x06
_JUMP_EQUAL, _JUMP_GREATER, _JUMP_ANY_BIT = 0x15, 0x25, 0x45
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_INSTRUCTION = struct.Struct("=HBBI")

Instruction = tuple[int, int, int, int]
"""Operation, jump if true, jump if false, operand; jumps count the instructions to leave out."""


def errno(number: int) -> int:
    """The verdict that lets a call fail with an error."""
    return _ERRNO | number


@dataclass(frozen=True, slots=True)
class OneOf:
    """The low 32 bits of argument `index` must be one of `values`."""

    index: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """The low 32 bits of argument `index` must be none of `values`."""

    index: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AllBits:
    """Every bit of `mask` must be set in argument `index`."""

    index: int
    mask: int


@dataclass(frozen=True, slots=True)
class NotAllBits:
    """At least one bit of `mask` must be missing in argument `index`."""

    index: int
    mask: int


@dataclass(frozen=True, slots=True)
class NoBits:
    """No bit of `mask` may be set in argument `index`."""

    index: int
    mask: int


Check = OneOf | NoneOf | AllBits | NotAllBits | NoBits


def assemble(
    architecture: int,
    *,
    last_known: int,
    refused: Mapping[int, int],
    checked: Mapping[int, tuple[Sequence[Check], int]],
) -> bytes:
    """The filter as the kernel takes it.

    Args:
        architecture: the AUDIT_ARCH value; a call of any other ends the process.
        last_known: calls beyond this number fail with ENOSYS: nobody has looked at them.
        refused: verdict by number.
        checked: by number, the checks that must all hold, and the verdict if one does not.
    """
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_GREATER, 0, 1, last_known),
        (_RETURN, 0, 0, errno(38)),
    ]
    for number, (checks, verdict) in checked.items():
        block = _block(checks, verdict)
        program += [(_JUMP_EQUAL, 0, len(block), number), *block]
    for number, verdict in refused.items():
        program += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, verdict)]
    program.append((_RETURN, 0, 0, ALLOW))
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _block(checks: Sequence[Check], verdict: int) -> list[Instruction]:
    """Checks, then ALLOW, with every way out of a check that fails leading to `verdict`."""
    tail: list[Instruction] = [(_RETURN, 0, 0, ALLOW), (_RETURN, 0, 0, verdict)]
    for check in reversed(checks):
        # `tail` begins with what follows a check that holds, and ends with the verdict
        tail = [*_check(check, len(tail)), *tail]
    return tail


def _check(check: Check, following: int) -> list[Instruction]:
    """One check in front of `following` instructions, the last of which is the verdict."""
    load: Instruction = (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * check.index)
    fails = following - 1
    match check:
        case OneOf(values=values):
            count = len(values)
            tests = [
                (_JUMP_EQUAL, count - 1 - at, 0 if at < count - 1 else fails, value)
                for at, value in enumerate(values)
            ]
        case NoneOf(values=values):
            count = len(values)
            tests = [
                (_JUMP_EQUAL, count - 1 - at + fails, 0, value) for at, value in enumerate(values)
            ]
        case AllBits(mask=mask):
            bits = [1 << bit for bit in range(32) if mask >> bit & 1]
            count = len(bits)
            tests = [(_JUMP_ANY_BIT, 0, count - 1 - at + fails, bit) for at, bit in enumerate(bits)]
        case NotAllBits(mask=mask):
            bits = [1 << bit for bit in range(32) if mask >> bit & 1]
            count = len(bits)
            tests = [
                (_JUMP_ANY_BIT, 0 if at < count - 1 else fails, count - 1 - at, bit)
                for at, bit in enumerate(bits)
            ]
        case NoBits(mask=mask):
            tests = [(_JUMP_ANY_BIT, fails, 0, mask)]
    return [load, *tests]
