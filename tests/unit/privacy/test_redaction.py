"""Personal data is found, and other things are left."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from modelry.services.privacy.checksums import is_german_tax_id, is_iban, is_luhn
from modelry.services.privacy.ports import Span
from modelry.services.privacy.recognisers import BUILT_IN
from modelry.services.privacy.redaction import Redactor

CORPUS = Path(__file__).parents[2] / "support" / "personal_data.txt"
_MARK = re.compile(r"\{([A-Z_]+) ([^}]*)\}")
LEAST_PRECISION, LEAST_RECALL = 0.93, 0.95
"""What docs/how-to/privacy.md states for this corpus."""

REDACTOR = Redactor()


def labelled(line: str) -> tuple[str, set[Span]]:
    """The plain text of a line, and what is marked in it."""
    text, spans, at = "", set(), 0
    for mark in _MARK.finditer(line):
        text += line[at : mark.start()]
        spans.add(Span(len(text), len(text) + len(mark[2]), mark[1]))
        text += mark[2]
        at = mark.end()
    return text + line[at:], spans


def test_precision_and_recall_on_the_corpus() -> None:
    found_right = found = wanted = 0
    wrong: list[str] = []
    for line in CORPUS.read_text().splitlines():
        text, marked = labelled(line)
        spans = set(REDACTOR.spans(text))
        found_right += len(spans & marked)
        found += len(spans)
        wanted += len(marked)
        wrong += [f"{one.kind} {text[one.start : one.end]!r}" for one in spans ^ marked]
    assert wanted > 35
    assert found_right / found >= LEAST_PRECISION, wrong
    assert found_right / wanted >= LEAST_RECALL, wrong


def test_every_kind_is_in_the_corpus() -> None:
    text = CORPUS.read_text()
    kinds = {one.kind for one in BUILT_IN} - {"PRIVATE_KEY"}  # has lines of its own
    assert kinds == set(re.findall(r"\{([A-Z_]+) ", text))


def test_private_keys_go_as_a_whole() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"
    counts: Counter[str] = Counter()
    assert REDACTOR.text(f"a {key} b", counts) == "a <PRIVATE_KEY> b"
    assert REDACTOR.text(f"a {key[:40]}", counts) == "a <PRIVATE_KEY>"
    assert counts == {"PRIVATE_KEY": 2}


def test_json_is_redacted_everywhere() -> None:
    counts: Counter[str] = Counter()
    given = {"a@b.example": [{"x": "c@d.example"}, 4111111111111111, 5, True, None, 1.5]}
    assert REDACTOR.value(given, counts) == {
        "<EMAIL>": [{"x": "<EMAIL>"}, "<CREDIT_CARD>", 5, True, None, 1.5]
    }
    assert counts == {"EMAIL": 2, "CREDIT_CARD": 1}


def test_what_overlaps_is_one_span() -> None:
    class Fixed:
        kind = "X"

        def __init__(self, *spans: tuple[int, int]) -> None:
            self.spans = [Span(start, end, f"{start}") for start, end in spans]

        def find(self, text: str) -> list[Span]:
            return self.spans

    redactor = Redactor((Fixed((4, 8)), Fixed((2, 5), (7, 9), (10, 11))))
    assert redactor.spans("0123456789ab") == [Span(2, 9, "4"), Span(10, 11, "10")]
    assert redactor.text("0123456789ab", Counter()) == "01<4>9<10>b"


@given(st.text(max_size=200))
@settings(max_examples=60)
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = REDACTOR.text(text, Counter())
    spans = REDACTOR.spans(text)
    assert all(0 <= one.start < one.end <= len(text) for one in spans)
    assert all(one.end <= other.start for one, other in itertools.pairwise(spans))
    assert len(REDACTOR.spans(once)) <= len(spans)


@given(st.integers(10**12, 10**18))
def test_luhn_finds_every_single_wrong_digit(number: int) -> None:
    digits = str(number)
    check = next(one for one in "0123456789" if is_luhn(digits + one))
    whole = digits + check
    other = str((int(whole[3]) + 1) % 10)
    assert not is_luhn(whole[:3] + other + whole[4:])


def test_check_digits() -> None:
    assert is_iban("DE89370400440532013000")
    assert not is_iban("DE89370400440532013001")
    assert not is_iban("XX89370400440532013000")
    assert is_german_tax_id("86095742719")
    assert not is_german_tax_id("86095742718")
    assert not is_german_tax_id("11111111111")
