"""How an explanation is asked for, now or as a job."""

from __future__ import annotations

from typing import Any

import pytest

from modelry.client.errors import InvalidInput
from modelry.client.exchange import Follow, Request
from modelry.client.operations.explanations import explain, start_explanation


def sent(flow: Any) -> dict[str, Any]:
    """The body of the first request of an operation."""
    effect = next(flow)
    request = effect.request if isinstance(effect, Follow) else effect
    assert isinstance(request, Request)
    body: dict[str, Any] = request.json
    return body


def test_both_ask_alike() -> None:
    wishes: dict[str, Any] = {
        "row": (1, 2),
        "background": [(0, 0)],
        "changeable": ["a"],
        "goal": {"above": 1},
        "target": 3,
        "within": range(2),
        "most_changes": 2,
        "picture": False,
        "seed": 7,
        "checks": False,
    }
    now, later = sent(explain("houses", **wishes)), sent(start_explanation("houses", **wishes))
    assert later.pop("job")
    assert now.pop("stream")
    assert now == later
    assert now == {
        "model": "houses",
        "row": [1, 2],
        "background": [[0, 0]],
        "changeable": {"a": True},
        "goal": {"above": 1},
        "target": "3",
        "within": [0, 1],
        "most_changes": 2,
        "picture": False,
        "seed": 7,
        "checks": False,
    }


def test_what_is_not_wished_is_not_sent() -> None:
    assert sent(explain("spam", text="x")) == {
        "model": "spam",
        "text": "x",
        "seed": 0,
        "checks": True,
        "picture": False,
        "stream": True,
    }


@pytest.mark.parametrize("name", ["methode", "on_progress"])
def test_a_wish_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        next(start_explanation("spam", text="x", **{name: 1}))


@pytest.mark.parametrize("inputs", [{}, {"text": "x", "row": [1]}])
def test_one_input_is_asked_for(inputs: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="Give one of image, text, row, messages and request_id"):
        next(explain("spam", **inputs))
