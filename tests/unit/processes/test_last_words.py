from modelry.adapters.processes.last_words import last_words

DUMP = """\
12:00:01 worker: loading
gguf_init_from_file: failed to open /srv/data/blobs/ab/cdef (error 2 at 0x7f00aa11bb22)

Fatal Python error: Segmentation fault

Current thread 0x00007f1b2 (most recent call first):
  File "/srv/modelry/worker/host.py", line 20 in main
Traceback (most recent call last):
  File "/srv/modelry/x.py", line 1, in <module>
    boom()
ValueError: bad value in /etc/secret/name.txt, see https://example.org/a/b
Extension modules: numpy.core._multiarray_umath (total: 1)
"""


def test_reasons_stay_and_dumps_folders_and_addresses_go() -> None:
    assert last_words(DUMP.splitlines()) == (
        "12:00:01 worker: loading | gguf_init_from_file: failed to open cdef (error 2 at 0x…)"
        " | Fatal Python error: Segmentation fault"
        " | ValueError: bad value in name.txt, see https://example.org/a/b"
    )


def test_only_the_last_lines_are_told_and_each_is_cut() -> None:
    assert last_words(str(at) for at in range(100)) == "95 | 96 | 97 | 98 | 99"
    assert len(last_words(["a" * 10_000])) == 300
    assert last_words(["", "  "]) == ""
