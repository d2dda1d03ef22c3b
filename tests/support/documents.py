"""The commands in the documentation, as blocks that can be run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

RUN = ("bash", "python")
"""Blocks in these languages are run, in order, in one folder per page."""
FRESH_CLONE = "sh"
"""Blocks of commands for a fresh clone, which have tests of their own."""
SHOWN = ("text", "json", "yaml", "toml", "console", "py")
"""Blocks that show something. Commands (`console`) and code (`py`) are shown only where they need
data of the reader's, or minutes of training: the tests of jobs and recipes do the same."""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, text and first line."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = page.read_text()
    return [
        Block(match[1], match[2], text.count("\n", 0, match.start()) + 1)
        for match in _FENCE.finditer(text)
    ]


def pages() -> list[Path]:
    """The pages for users: README, tutorial, how-tos."""
    return [
        ROOT / "README.md",
        ROOT / "docs" / "tutorial.md",
        *sorted((ROOT / "docs" / "how-to").glob("*.md")),
    ]
