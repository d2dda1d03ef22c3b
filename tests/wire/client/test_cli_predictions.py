"""Commands that ask models, against the real doors; models answer in the server's process."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.answering import KEY
from typer.testing import CliRunner

from modelry.cli.main import app

PAGE = Path(__file__).parents[3] / "src/modelry/cli/samples/page.png"


@pytest.fixture
def run(doors):
    def invoke(*words, given=None, code=0):
        environment = {"MODELRY_URL": doors, "MODELRY_API_KEY": KEY}
        result = CliRunner().invoke(app, [str(word) for word in words], given, environment)
        assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
        return result

    return invoke


def test_a_message_is_answered_as_a_stream(run):
    assert run("chat", "assistant", "hello there").stdout == "hello there \n"
    assert run("chat", "assistant", "-", given="from stdin").stdout == "from stdin \n"


def test_an_answer_as_json(run):
    told = json.loads(run("chat", "assistant", "hi", "--system", "Be kind.", "--json").stdout)
    assert told["choices"][0]["text"] == "hi "
    assert told["usage"]["total_tokens"] == 8
    assert told["version"] == "assistant@1"


def test_an_answer_cannot_command_the_terminal(run):
    result = run("chat", "assistant", "a\x1b]0;evil\x07b")
    assert result.stdout == "a\N{REPLACEMENT CHARACTER}]0;evil\N{REPLACEMENT CHARACTER}b \n"


def test_an_answer_that_breaks_off_is_shown_and_told(run):
    result = run("chat", "assistant", "well die", code=1)
    assert result.stdout == "well \n"
    assert "out of luck" in result.stderr


def test_a_conversation_goes_on_until_its_end(run):
    result = run("chat", "assistant", given="one\n\ntwo words\n/quit\nnever\n")
    assert result.stdout == "one \ntwo words \n"
    assert "Ctrl-D" in result.stderr
    assert run("chat", "assistant", given="one\n").stdout == "one \n"


def test_a_conversation_survives_an_answer_that_fails(run):
    result = run("chat", "assistant", given="die\nstill there\n")
    assert result.stdout.endswith("still there \n")
    assert "out of luck" in result.stderr
    assert "nothing" in run("chat", "nothing", given="hi\n", code=1).stderr


def test_texts_are_embedded(run, tmp_path):
    told = json.loads(run("embed", "minilm", "a", "abc", "--json").stdout)
    assert told["embeddings"] == [[1, 1, -1], [3, 1, -1]]
    lines = run("embed", "minilm", "-", "--save", tmp_path / "v.npy", given="a\nabc\n")
    assert "cosines" in lines.stdout
    assert np.load(tmp_path / "v.npy").shape == (2, 3)
    run("embed", "minilm", "-", given="\n", code=2)


def test_texts_and_images_are_classified(run):
    shown = run("classify", "mood", "--text", "fine", "--text", "bad").stdout
    assert "75.0%  cat" in shown
    assert "fine:" in shown
    told = json.loads(run("classify", "pets", PAGE, "--json").stdout)
    assert told["results"][0]["labels"][1]["index"] == PAGE.stat().st_size


def test_texts_are_written_for_texts(run):
    assert run("translate", "polyglot", "abc", "de").stdout == "cba\ned\n"
    assert run("summarize", "brief", "-", given="abc\n\nde\n").stdout == "cba\ned\n"
    told = json.loads(run("translate", "polyglot", "abc", "--max-tokens", "2", "--json").stdout)
    assert told["results"] == [{"input": "abc", "text": "cb", "score": -0.5, "is_complete": False}]
    assert "cut" in run("summarize", "brief", "abc", "--max-tokens", "2").stderr
    run("translate", "polyglot", "-", given="\n", code=2)


def test_answers_are_explained(run, tmp_path):
    shown = run("explain", "mood", "--text", "a bb")
    assert shown.stdout.startswith("For 'cat' spoke most: 'bb'.\n   +2.0000  bb\n   +1.0000  a\n")
    assert "insertion 0.800 (random 0.500)" in shown.stdout
    assert "7 model calls" in shown.stderr
    run("explain", "pets", PAGE, "--no-checks", "--out", tmp_path / "heat.png")
    assert (tmp_path / "heat.png").read_bytes() == b"PNG"
    told = json.loads(run("explain", "mood", "--text", "a", "--target", "dog", "--json").stdout)
    assert told["target"]["label"] == "dog"
    run("explain", "mood", code=2)
    refused = run("explain", "sums", "--row", "[[1, 2], [3, 4]]", code=2)
    assert "it has 2 rows; explain one at a time" in refused.stderr


def test_objects_are_explained_each_with_its_box(run):
    shown = run("explain", "things", PAGE, "--min-score", "0.25").stdout.splitlines()
    assert shown[1:3] == [
        "  0  dog (0.50) at 1, 2, 4, 4, 88% of it inside the box",
        "   +0.2500  region 1, 2, 3, 4",
    ]
    assert "insertion 0.800" in shown[3]
    told = json.loads(run("explain", "things", PAGE, "--min-score", "0.25", "--json").stdout)
    assert told["parameters"] == {"min_score": 0.25}


def test_written_answers_and_pairs_are_explained(run, tmp_path):
    shown = run(
        "explain", "assistant", "--prompt", "one two", "--answer", "yes", "--level", "words"
    )
    assert "+0.0000  one two\n" in shown.stdout
    assert "answer: yes\n" in shown.stderr
    talk = tmp_path / "talk.json"
    talk.write_text('[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]')
    told = json.loads(run("explain", "assistant", "--messages", talk, "--json").stdout)
    assert [one["text"] for one in told["attribution"]["segments"]] == ["a", "b"]
    words = ("explain", "assistant", "--messages", talk, "--within", "1", "--json")
    assert json.loads(run(*words).stdout)["parameters"]["within"] == [1]
    assert "+3.0000  abc\n" in run("explain", "polyglot", "--text", "abc").stdout
    shown = run("explain", "minilm", "--text", "a", "--compared-with", "b")
    assert "+1.0000  b\n   +0.0000  a\n" in shown.stdout
    for wrong in ("{", "[1]"):
        talk.write_text(wrong)
        assert "talk.json" in run("explain", "assistant", "--messages", talk, code=2).stderr


def test_objects_are_listed(run):
    shown = run("detect", "things", PAGE).stdout
    assert "640 x 480" in shown
    assert "dog" in shown
    told = json.loads(run("detect", "things", PAGE, "--min-score", "0.9", "--json").stdout)
    assert told["results"][0]["objects"] == []
    assert "Nothing was found" in run("detect", "things", PAGE, "--min-score", "0.9").stderr


def test_boxes_are_drawn_into_a_copy(run, tmp_path):
    run("detect", "things", PAGE, "--save", tmp_path / "boxes.png")
    with Image.open(PAGE) as before, Image.open(tmp_path / "boxes.png") as after:
        assert after.size == before.size
        assert after.getpixel((3, 4)) == (214, 39, 40)
    run("detect", "things", PAGE, PAGE, "--save", tmp_path / "boxes.png", code=2)


def test_tables_are_read_from_files_and_json(run, tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n1,2.5\n3,\nx,1\n")
    assert run("tabular", "sums", tmp_path / "rows.csv").stdout == "3.5\n3\ntext 100.0%\n"
    assert run("tabular", "sums", '{"a": 1, "b": 2}').stdout == "3\n"
    assert run("tabular", "sums", "[1, 2]").stdout == "3\n"
    told = json.loads(run("tabular", "sums", "-", "--json", given="[[1, 2], [3, 4]]").stdout)
    assert [one["value"] for one in told["results"]] == [3, 7]
    (tmp_path / "ragged.csv").write_text("a,b\n1\n")
    for wrong in ("[]", "3", "{", tmp_path / "ragged.csv", tmp_path / "none.csv"):
        run("tabular", "sums", wrong, code=2)


def test_infer_keeps_bytes_and_nan_readable(run, tmp_path):
    inputs = {}
    for name in ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"):
        inputs[name] = [[1, 2]]
    inputs |= {name: [[0.5, 1]] for name in ("fp16", "fp32", "fp64", "bf16")}
    inputs |= {"bool": [[True, False]], "bytes": [["ü", "x"]]}
    (tmp_path / "all.json").write_text(json.dumps(inputs))
    told = json.loads(run("infer", "echo", tmp_path / "all.json", "--json").stdout)["outputs"]
    assert told["bytes_out"]["data"] == ["ü", "x"]
    assert told["bool_out"]["data"] == [[True, False]]
    assert told["fp16_out"]["data"] == [[0.5, 1]]
    assert "BYTES" in run("infer", "echo", tmp_path / "all.json").stdout


class Terminal:
    """What a process wrote to its terminal, in order."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.unread = b""

    def wait_for(self, text: bytes, timeout_s: float = 30) -> None:
        """Read on until `text`."""
        end = time.monotonic() + timeout_s
        while text not in self.unread:
            ready, _, _ = select.select([self.descriptor], [], [], max(0, end - time.monotonic()))
            assert ready, self.unread
            self.unread += os.read(self.descriptor, 1000)
        self.unread = self.unread.partition(text)[2]


def test_ctrl_c_stops_an_answer_and_not_the_conversation(doors):
    read, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "modelry", "--url", doors, "chat", "assistant"],
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        env={**os.environ, "MODELRY_API_KEY": KEY, "TERM": "dumb"},
    )  # fmt: skip
    screen = Terminal(read)
    try:
        screen.wait_for(b"> ")
        os.write(read, b"first wait\n")
        screen.wait_for(b"\nfirst ")
        process.send_signal(signal.SIGINT)
        screen.wait_for(b"(stopped)")
        screen.wait_for(b"> ")
        os.write(read, b"still here\n")
        screen.wait_for(b"\nstill here ")
        screen.wait_for(b"> ")
        os.write(read, b"\x04")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(read)
        os.close(terminal)


def test_ctrl_c_ends_a_single_answer_with_130(doors):
    process = subprocess.Popen(
        [sys.executable, "-m", "modelry", "--url", doors, "chat", "assistant", "first wait"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "MODELRY_API_KEY": KEY},
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.read(6) == b"first "
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
        assert process.returncode == 130
        assert b"Traceback" not in stderr
