"""What the gateway makes of the sandbox that its machine offers."""

import ctypes
import sys
import threading

import pytest

from modelry.adapters.processes import sandbox_probe
from modelry.adapters.processes.sandbox_probe import SandboxProbe
from modelry.domain.sandbox import Measure, SandboxReport

ALL = SandboxReport(dict.fromkeys(Measure, "as tested"))
WITHOUT_FILES = SandboxReport(
    {one: "as tested" for one in Measure if one not in (Measure.FILES, Measure.TREE)}
)


def can_be_read() -> bool:
    return bool(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))


@pytest.mark.skipif(sys.platform != "linux", reason="there is nothing to hide from elsewhere")
@pytest.mark.parametrize(("found", "expected"), [(ALL, True), (WITHOUT_FILES, False)])
def test_the_gateway_hides_until_workers_cannot_see_it(monkeypatch, found, expected):
    go_on = threading.Event()

    def probe() -> SandboxReport:
        go_on.wait(10)
        return found

    monkeypatch.setattr(sandbox_probe, "probe_sandbox", probe)
    try:
        made = SandboxProbe()
        assert made.known is None
        assert not can_be_read()
        go_on.set()
        assert made.report() == found
        assert can_be_read() is expected
    finally:
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)


def test_a_probe_that_fails_is_no_sandbox(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    report = sandbox_probe.probe_sandbox()
    assert not report.in_force
    assert "could not be tried" in report.lacking[Measure.FILES]
