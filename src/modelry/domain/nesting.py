"""How deep JSON is nested, found without recursion: what is hostile would exhaust the stack."""

from __future__ import annotations

from typing import Any


def is_nested_deeper(value: Any, levels: int) -> bool:
    """Whether a value of JSON types has more than so many levels, itself the first one."""
    level: list[Any] = [value]
    for _ in range(levels):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return True
