"""Pairs of texts: two files, tabs, TMX."""

from __future__ import annotations

import gzip
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.importing import columns_of, opened

from modelry.datasets.importers import parallel_text
from modelry.domain.datasets import ColumnRole
from modelry.domain.errors import InvalidInput, RowsInvalid


def pairs(tmp_path: Path, files: dict[str, bytes], split: str = "", **options: Any) -> Any:
    source = opened(tmp_path, files, "parallel-text", **options)
    rows = columns_of(source, split)
    return list(zip(rows["source"], rows["target"], strict=True))


def unit(*texts: tuple[str, str], attributes: str = "") -> str:
    inner = "".join(f'<tuv xml:lang="{lang}"><seg>{text}</seg></tuv>' for lang, text in texts)
    return f"<tu {attributes}>{inner}</tu>\n"


def tmx(*units: str, header: str = 'srclang="en"', before: str = "") -> bytes:
    body = "".join(units)
    return (
        f'<?xml version="1.0"?>\n{before}<tmx version="1.4"><header {header}/>'
        f"<body>\n{body}</body></tmx>"
    ).encode()


def test_two_files(tmp_path: Path) -> None:
    files = {"train.de": "Ja\nGrün\n\nAus\n".encode(), "train.en": b"yes\ngreen\n\nout\r\n"}
    expected = [("yes", "Ja"), ("green", "Grün"), ("out", "Aus")]
    assert pairs(tmp_path, files, "train", source_language="en") == expected
    assert pairs(tmp_path, files, "train", target_language="de") == expected
    named = {"a-source.txt": files["train.en"], "a-target.txt": files["train.de"]}
    assert pairs(tmp_path, named) == expected


def test_two_files_per_split(tmp_path: Path) -> None:
    files = {
        "train.de": b"Ja\n", "train.en": b"yes\n",
        "test.de.gz": gzip.compress(b"Nein\n"), "test.en.gz": gzip.compress(b"no\n"),
    }  # fmt: skip
    assert pairs(tmp_path, files, "test", source_language="en") == [("no", "Nein")]
    source = opened(tmp_path, files, "parallel-text", source_language="en")
    assert source.splits == ("train", "test")
    assert [one.role for one in source.schema.columns] == [ColumnRole.SOURCE, ColumnRole.TARGET]


@pytest.mark.parametrize(
    ("files", "options", "expected"),
    [
        ({"a.en": b"x\ny\n", "a.de": b"x\n"}, {"source_language": "en"}, "'a.de' has 1 lines and"),
        ({"a.en": b"x\n", "a.de": b"x\n"}, {}, "is not said"),
        ({"a.en": b"x\n", "a.de": b"x\n"}, {"source_language": "fr"}, "ends in '.fr'"),
        ({"a.en": b"x\n"}, {}, "expected two"),
        ({"a.en": b"x\n", "b.tmx": tmx()}, {}, "expected either TMX"),
        ({"a.tsv": b"x\ty\tz\n"}, {}, "it has 3 columns"),
        ({"a.tsv": b"x\ty\nz\t\n"}, {}, "line 2: its target is empty"),
        ({"a.tsv": b"x\ty\n\tz\n"}, {}, "line 2: its source is empty"),
        ({"a.tsv": b"x\ty\n\xff\tz\n"}, {}, "line 2: byte 1 is no UTF-8"),
    ],
)
def test_files_that_make_no_pairs(
    tmp_path: Path, files: dict[str, bytes], options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        pairs(tmp_path, files, **options)
    assert expected in caught.value.message


def test_tabs(tmp_path: Path) -> None:
    data = "\ufeffsource\ttarget\nyes\tJa\n\nno\tNein\nmaybe\n".encode()
    with pytest.raises(RowsInvalid, match="line 5: it has 1 columns"):
        pairs(tmp_path, {"a.txt": data}, header=True)
    got = pairs(tmp_path, {"a.txt": data}, header=True, on_bad_rows="skip")
    assert got == [("yes", "Ja"), ("no", "Nein")]


def test_a_line_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_text, "MAX_LINE_BYTES", 100)
    with pytest.raises(InvalidInput, match="Line 1 of"):
        pairs(tmp_path, {"a.tsv": b"x\t" + b"y" * 200})


def test_tmx_as_programs_write_it(tmp_path: Path) -> None:
    data = tmx(
        unit(
            ("en-GB", "Press <bpt i='1'>&lt;b></bpt>Save<ept i='1'/> &amp; go"),
            ("de", "Sichern\n  und los"),
        ),
        unit(("de", "Nein"), ("en", "No"), attributes='tuid="2"'),
        before='<!DOCTYPE tmx SYSTEM "tmx14.dtd">',
    )  # fmt: skip
    expected = [("Press Save & go", "Sichern und los"), ("No", "Nein")]
    assert pairs(tmp_path, {"a.tmx": data}) == expected
    assert pairs(tmp_path, {"a.tmx": data}, source_language="de") == [
        (target, source) for source, target in expected
    ]


def test_units_without_a_pair_are_named(tmp_path: Path) -> None:
    data = tmx(
        unit(("en", "yes"), ("de", "Ja")), unit(("fr", "oui")), unit(("en", "no")),
        unit(("en", ""), ("de", "x")),
    )  # fmt: skip
    with pytest.raises(RowsInvalid) as caught:
        pairs(tmp_path, {"a.tmx": data})
    for expected in (
        "unit 2 in line 4: it has no text in 'en', but in fr",
        "unit 3 in line 5: it has no text in 'another language'",
        "unit 4 in line 6: its source is empty",
    ):
        assert expected in caught.value.message
    assert pairs(tmp_path, {"a.tmx": data}, on_bad_rows="skip") == [("yes", "Ja")]


ENTITIES = '<!DOCTYPE tmx [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
OUTSIDE = '<!DOCTYPE tmx [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
PARAMETER = '<!DOCTYPE tmx [<!ENTITY % a SYSTEM "http://127.0.0.1/x"> %a;]>'


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tmx(unit(("en", "&b;"), ("de", "x")), before=ENTITIES), "remove the DOCTYPE"),
        (tmx(unit(("en", "&a;"), ("de", "x")), before=OUTSIDE), "remove the DOCTYPE"),
        (tmx(unit(("en", "x"), ("de", "x")), before=PARAMETER), "remove the DOCTYPE"),
        (tmx(unit(("en", "&nothing;"), ("de", "x"))), "it is no XML in line 3"),
        (
            tmx(unit(("en", "&x;"), ("de", "x")), before='<!DOCTYPE tmx SYSTEM "/etc/passwd">'),
            "line 3 has the entity '&x;'",
        ),
        (tmx(unit(("en", "x"), ("de", "y")))[:-9], "no XML"),
        (b"<html/>", "begins with <html>"),
        (b"", "no XML"),
        (b"<tmx>" * 100, "deep in each other"),
        (tmx(unit(("en", "x"), ("de", "y"), ("fr", "z"))), "give target_language"),
        (tmx(unit(("en", "x"), ("de", "y")), header='srclang="*all*"'), "give source_language"),
        (b'<?xml version="1.0" encoding="no-such"?><tmx/>', "cannot be read"),
    ],
)
def test_hostile_tmx(tmp_path: Path, data: bytes, expected: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        pairs(tmp_path, {"a.tmx": data})
    assert expected in caught.value.message
    assert "root:" not in caught.value.message


TEXT = st.text(
    st.characters(
        exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs"), exclude_characters="\ufffe\uffff"
    ),
    min_size=1,
    max_size=9,
)


@settings(max_examples=25)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8))
def test_pairs_are_read_as_they_were(rows: list[tuple[str, str]]) -> None:
    units = [unit(("en", escape(one)), ("de", escape(other))) for one, other in rows]
    tabs = "".join(f"{one}\t{other}\n" for one, other in rows).removeprefix("\ufeff")
    with tempfile.TemporaryDirectory() as folder:
        assert pairs(Path(folder), {"a.tmx": tmx(*units)}) == rows
        if not rows[0][0].startswith("\ufeff"):
            assert pairs(Path(folder), {"a.tsv": tabs.encode()}) == rows


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 255), st.binary(max_size=30))
def test_any_bytes_are_read_or_refused(place: int, turn: int, more: bytes) -> None:
    data = bytearray(tmx(unit(("en", "yes"), ("de", "Ja"))))
    data[place % len(data)] ^= turn
    with tempfile.TemporaryDirectory() as folder:
        for files in ({"a.tmx": bytes(data)}, {"a.tmx": more}, {"a.tsv": more}):
            with suppress(InvalidInput):
                pairs(Path(folder), files, on_bad_rows="skip")
