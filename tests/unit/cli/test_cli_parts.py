import contextlib
import json
import socket
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from modelry.cli.checks import machine, software
from modelry.cli.commands.logs import new_from
from modelry.cli.durations import seconds_of
from modelry.cli.failures import told
from modelry.cli.output import json_text, printable, size_text
from modelry.cli.values import pairs, replica_range, traffic_shares
from modelry.client.errors import InternalError, NotReachable, Overloaded, told_error
from modelry.domain.errors import Conflict
from modelry.domain.sandbox import Measure, SandboxLevel, SandboxReport
from modelry.sandbox.gpus import NO_GPUS, Gpus


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("250ms", 0.25)],
)
def test_durations(text, seconds):
    assert seconds_of(text, "--x") == seconds


@given(st.text())
def test_other_words_are_no_durations(text):
    with contextlib.suppress(typer.BadParameter):
        assert seconds_of(text, "--x") > 0


def test_options_with_values():
    given = ["threads=4", "flash=true", "share=0.5", "kind=q4=x", "empty="]
    assert pairs(given, "--option") == {
        "threads": 4, "flash": True, "share": 0.5, "kind": "q4=x", "empty": "",
    }  # fmt: skip
    assert pairs([], "--option") is None
    assert (replica_range("2", "x"), replica_range("0..3", "x")) == ((2, 2), (0, 3))
    assert traffic_shares("1=90,2=10", "x") == {1: 90.0, 2: 10.0}


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_followed_logs_show_each_line_once(seen, new):
    assert (seen + new)[new_from(seen, seen + new) :] in (new, [*new])


def test_followed_logs_survive_lines_that_were_dropped():
    assert new_from(["1", "2", "3"], ["2", "3", "4"]) == 2
    assert new_from(["1", "2"], ["7", "8"]) == 0
    assert new_from([], ["7"]) == 0


@given(st.text())
def test_nothing_printable_commands_a_terminal(text):
    shown = printable(text)
    assert not any(ord(character) < 32 and character not in "\n\t" for character in shown)
    assert "\x1b" not in shown
    assert "\x9b" not in shown


def test_json_has_no_word_for_nan():
    told = json_text({"a": [1.5, float("nan"), -float("inf")]})
    assert json.loads(told) == {"a": [1.5, None, None]}


def test_sizes():
    assert [size_text(n) for n in (None, 999, 98_400_000, 5e13)] == [
        "",
        "999 B",
        "98.4 MB",
        "50.0 TB",
    ]


def test_errors_become_words_and_codes():
    assert told(NotReachable("no")) == (["Error: no"], 3)
    assert told(Overloaded("full", retry_after_s=2)) == (["Error: full", "It may work in 2 s."], 1)
    assert told(told_error(401, "who?"))[1] == 3
    defect = InternalError("oops", request_id="r1")
    assert told(defect) == (["Error: oops", "Request id: r1"], 1)
    assert told(Conflict("in use")) == (["Error: in use"], 1)
    assert told(FileNotFoundError(2, "No such file", "x")) == (["Error: No such file (x)"], 1)
    assert told(ZeroDivisionError()) is None


def test_old_software_is_found():
    assert software.python_version((3, 10, 1)).verdict == "bad"
    assert software.python_version((3, 12, 1)).verdict == "good"
    assert software.sqlite((3, 40, 1)).verdict == "note"
    assert software.sqlite((3, 51, 3)).verdict == "good"


def test_torchvision_is_told_with_the_reason(monkeypatch):
    monkeypatch.setattr(software, "installed", lambda package: "1.0")
    monkeypatch.setattr(software, "_runtime", lambda name: software.good(name, ""))
    found = {one.name: one for one in software.software()}
    assert found["torchvision"].verdict == "bad"
    assert "uninstall" in found["torchvision"].advice


def test_a_missing_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(software, "installed", lambda package: None)
    assert software._runtime("onnx").verdict == "bad"
    assert software._runtime("openvino").verdict == "note"


def test_a_library_that_breaks_is_told_by_its_last_words(monkeypatch):
    monkeypatch.setattr(software, "installed", lambda package: "9")
    found = software._runtime("nonsense")
    assert found.verdict == "bad"
    assert "nonsense" in found.found


def test_ports_disk_and_kernel(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert machine.port_use("port", "127.0.0.1", port).verdict == "note"
    assert machine.port_use("port", "127.0.0.1", 0).verdict == "good"
    assert "free for" in machine.disk_space(tmp_path / "a" / "b").found


def test_gpus_are_told_with_the_torch_that_could_use_them():
    two = Gpus((Path("/dev/nvidia0"), Path("/dev/nvidia1"), Path("/dev/nvidiactl")))

    def told(torch):
        (one,) = machine.gpus(two, torch)
        return one.verdict, one.found

    assert told("2.13.0+cu130") == ("good", "2 of NVIDIA; torch 2.13.0+cu130")
    assert told("2.13.0+cpu")[0] == told(None)[0] == "note"
    assert list(machine.gpus(NO_GPUS, "2.13.0+cpu")) == []


def test_the_sandbox_is_told_by_what_is_demanded():
    everything = SandboxReport(dict.fromkeys(Measure, "as tested"))
    nothing = SandboxReport({}, dict.fromkeys(Measure, "not this kernel"))

    def verdict(report: SandboxReport, required: SandboxLevel) -> str:
        return next(iter(machine.sandbox(report, required))).verdict

    assert verdict(everything, SandboxLevel.STRICT) == "good"
    assert verdict(nothing, SandboxLevel.NONE) == "note"
    assert verdict(nothing, SandboxLevel.BASIC) == "bad"
    told = next(iter(machine.sandbox(nothing, SandboxLevel.BASIC)))
    assert "not this kernel" in str(told.advice)
