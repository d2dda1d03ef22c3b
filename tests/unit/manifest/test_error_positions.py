"""Errors about a parsed manifest point at the nearest line, whatever words a path holds."""

from __future__ import annotations

import pytest

from modelry.manifest.document import parse_manifest

(DOCUMENT,) = parse_manifest(
    "name: x\ntask: tensor\nfiles: {model: m.onnx}\npost:\n  - softmax\n  - top_k: 5\n"
)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("post[1].top_k", 6),
        ("post[1].top_k.k", 6),
        ("post[0].anything", 5),
        ("post[0].a]", 5),
        ("post[0].[a\\1: 1}}", 5),
        ("post[0].]]].[.", 5),
        ("post[9]", 4),
        ("pre", 1),
        ("]", 1),
        ("." * 100_000, 1),
        ("", 1),
    ],
)
def test_an_error_points_at_the_nearest_line(path: str, line: int) -> None:
    assert DOCUMENT.invalid("wrong", path).line == line
