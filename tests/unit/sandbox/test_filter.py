"""The seccomp filter, run by an interpreter of our own."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.seccomp_data import verdict

from modelry.sandbox import bpf, seccomp
from modelry.sandbox.kernel import Refused
from modelry.sandbox.syscalls import ARCHITECTURES, LAST_KNOWN, NUMBERS

PID = 4242
X86, X86_COLUMN = ARCHITECTURES["x86_64"]
PROGRAM = seccomp.assemble("x86_64", PID)
DENIED = bpf.errno(errno.EPERM)
WORD = st.integers(0, 2**32 - 1)


def on(name, *arguments):
    return verdict(PROGRAM, X86, NUMBERS[name][X86_COLUMN], arguments)


def holds(check, arguments):
    value = arguments[check.index] & 0xFFFFFFFF
    match check:
        case bpf.OneOf():
            return value in check.values
        case bpf.NoneOf():
            return value not in check.values
        case bpf.AllBits():
            return value & check.mask == check.mask
        case bpf.NotAllBits():
            return value & check.mask != check.mask
        case bpf.NoBits():
            return value & check.mask == 0


CHECKS = st.one_of(
    st.builds(bpf.OneOf, st.integers(0, 5), st.lists(WORD, min_size=1, max_size=4).map(tuple)),
    st.builds(bpf.NoneOf, st.integers(0, 5), st.lists(WORD, min_size=1, max_size=4).map(tuple)),
    st.builds(bpf.AllBits, st.integers(0, 5), st.integers(1, 255)),
    st.builds(bpf.NotAllBits, st.integers(0, 5), st.integers(1, 255)),
    st.builds(bpf.NoBits, st.integers(0, 5), st.integers(1, 2**32 - 1)),
)


@settings(max_examples=60)
@given(
    checks=st.lists(CHECKS, min_size=1, max_size=4),
    data=st.data(),
    high=st.integers(0, 2**32 - 1),
)
def test_a_call_passes_exactly_when_every_check_holds(checks, data, high):
    interesting = [value for one in checks for value in getattr(one, "values", (one_mask(one),))]
    words = st.one_of(WORD, st.sampled_from(interesting), st.integers(0, 255))
    arguments = [high << 32 | data.draw(words) for _ in range(6)]
    program = bpf.assemble(X86, last_known=500, refused={}, checked={7: (checks, DENIED)})
    expected = bpf.ALLOW if all(holds(one, arguments) for one in checks) else DENIED
    assert verdict(program, X86, 7, arguments) == expected
    assert verdict(program, X86, 8, arguments) == bpf.ALLOW


def one_mask(check):
    return getattr(check, "mask", 0)


def test_a_call_of_another_architecture_ends_the_process():
    assert verdict(PROGRAM, X86 ^ 1, 0) == bpf.KILL_PROCESS
    assert verdict(PROGRAM, 0x40000003, 0) == bpf.KILL_PROCESS  # 32-bit x86


@given(st.integers(LAST_KNOWN + 1, 2**32 - 1))
def test_calls_that_nobody_has_looked_at_are_not_there(number):
    assert verdict(PROGRAM, X86, number) == bpf.errno(errno.ENOSYS)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_call_of_the_table_is_refused_or_checked(name):
    architecture, column = ARCHITECTURES[name]
    program = seccomp.assemble(name, PID)
    for call, numbers in NUMBERS.items():
        if numbers[column] is None:
            continue
        found = verdict(program, architecture, numbers[column], [0xFFFFFFF0] * 6)
        if call in seccomp.refused():
            assert found == DENIED, call
        elif call in seccomp.UNKNOWN:
            assert found == bpf.errno(errno.ENOSYS), call
        else:
            assert call in seccomp.checks(PID), call


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        (("socket", 1, 1, 0), True),
        (("socket", 2, 1, 0), False),
        (("socket", 10, 1, 0), False),
        (("socket", 16, 3, 0), False),
        (("kill", PID, 15), True),
        (("kill", 1, 15), False),
        (("kill", 0xFFFFFFFF, 9), False),
        (("tgkill", PID, PID, 6), True),
        (("clone", 0x3D0F00), True),
        (("clone", 0x01200011), False),
        (("clone", 0x3D0F00 | 0x10000000), False),
        (("mmap", 0, 4096, 3, 0x22), True),
        (("mmap", 0, 4096, 3, 0x21), False),
        (("mmap", 0, 4096, 3, 0x01), True),
        (("prctl", 15), True),
        (("prctl", 4, 1), False),
        (("prlimit64", 0), True),
        (("prlimit64", 1), False),
        (("ioctl", 0, 0x5401), True),
        (("ioctl", 0, 0x5412), False),
        (("setpriority", 0, 0, 5), True),
        (("setpriority", 2, 0, 5), False),
    ],
)
def test_what_depends_on_arguments(call, allowed):
    assert on(*call) == (bpf.ALLOW if allowed else DENIED)


def test_other_machines_get_no_filter_and_are_told():
    with pytest.raises(Refused, match="only for x86_64 and aarch64"):
        seccomp.assemble("riscv64", PID)


def test_shared_memory_without_a_name_is_mapped_where_a_gpu_s_driver_needs_it():
    shared = (0, 4096, 3, 0x21)
    assert on("mmap", *shared) == DENIED
    program = seccomp.assemble("x86_64", PID, shares_memory=True)
    number = NUMBERS["mmap"][X86_COLUMN]
    assert verdict(program, X86, number, shared) == bpf.ALLOW
    assert verdict(program, X86, NUMBERS["memfd_create"][X86_COLUMN], ()) == DENIED
