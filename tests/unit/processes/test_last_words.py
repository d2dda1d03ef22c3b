from modelry.adapters.processes.last_words import last_words

CRASH = """\
2026 W:onnxruntime: something about /srv/data/blobs/ab/abcdef
Fatal Python error: Segmentation fault

Current thread 0x00007f5e3a7fc640 (most recent call first):
  File "/opt/modelry/src/modelry/runtimes/onnx/engine.py", line 79 in infer
  File "/opt/modelry/src/modelry/worker/host.py", line 120 in read_in_turn

Extension modules: numpy._core._multiarray_umath, orjson (total: 20)
"""
RAISED = """\
12:00:00 worker: cannot go on: MemoryError: no room
Traceback (most recent call last):
  File "/opt/modelry/src/modelry/worker/host.py", line 98, in read_in_turn
    self._read_in_turn()
    ~~~~~~~~~~~~~~~~~~^^
MemoryError: no room
"""


def test_a_crash_is_told_without_trace_and_folders():
    said = last_words(CRASH.splitlines())
    assert (
        said
        == "2026 W:onnxruntime: something about abcdef | Fatal Python error: Segmentation fault"
    )


def test_an_exception_is_told_without_its_source():
    said = last_words(RAISED.splitlines())
    assert said == "12:00:00 worker: cannot go on: MemoryError: no room | MemoryError: no room"


def test_only_the_end_is_told_and_long_lines_are_cut():
    said = last_words([*(f"line {number}" for number in range(20)), "x" * 5000])
    assert said.startswith("line 16 | line 17")
    assert len(said) < 400


def test_words_with_slashes_that_are_no_paths_stay():
    assert last_words(["12 tok/s and/or 3/4 of 1.5/2"]) == "12 tok/s and/or 3/4 of 1.5/2"


def test_nothing_said_is_nothing_told():
    assert last_words(["", "  "]) == ""
