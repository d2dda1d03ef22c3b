"""Explanations as pages: of every kind something is seen, and texts of others stay texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from modelry.client.explained import ExplainedTarget, Explanation

EVIL = "<script>alert(1)</script>"


def word(text: str, start: int, weight: float, **more: Any) -> dict[str, Any]:
    return {"text": text, "start": start, "end": start + len(text), "weight": weight, **more}


OUTPUT = {"text": f"die Katze {EVIL}", "tokens": [word("die", 0, 0), word("Katze", 4, 0)]}
KINDS: Mapping[str, dict[str, Any]] = {
    "text": {"words": [word("the", 0, 1.0), word(EVIL, 4, -2.0)]},
    "table": {"columns": [{"name": EVIL, "value": EVIL, "weight": 1.0}]},
    "pair": {"words": [word("cat", 0, 0.5)], "compared_with": [word(EVIL, 0, 0.25)]},
    "sequence": {
        "words": [word("the", 0, 0.1), word(EVIL, 4, 2.0)],
        "output": OUTPUT,
        "matrix": [[0.5, 0.0], [-0.25, 1.0]],
    },
    "chat": {
        "segments": [
            word("Be brief.", 0, 0.1, message=0, role=EVIL),
            word(EVIL, 0, 2.0, message=1, role="user"),
        ],
        "output": OUTPUT,
        "matrix": None,
    },
    "counterfactual": {
        "counterfactuals": [
            {"label": EVIL, "score": 1.0, "changes": [{"name": EVIL, "from": EVIL, "to": EVIL}]}
        ]
    },
}


def page(kind: str) -> str:
    attribution = {"kind": kind, **KINDS[kind]}
    target = ExplainedTarget(0, 1.0, EVIL)
    return Explanation(EVIL, 1, EVIL, target, attribution, EVIL)._repr_html_()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_shown_and_no_text_becomes_markup(kind: str) -> None:
    found = page(kind)
    assert "<script" not in found
    assert found.count("&lt;script") > 3, "more than the sentence, the model and the method"


def test_words_of_both_texts_of_a_pair_are_as_pale_as_their_weights() -> None:
    assert "0.70)" in page("pair")
    assert "0.35)" in page("pair")


def test_what_each_token_of_an_answer_loses_is_a_table() -> None:
    found = page("sequence")
    assert found.count("<th>") == 3
    assert 'title="-0.25" style="background: rgba(31,119,180,0.17)"' in found
    assert "<table" not in page("chat")


def test_a_conversation_is_shown_message_by_message() -> None:
    assert page("chat").index("Be brief.") < page("chat").index("<small>user</small>")
