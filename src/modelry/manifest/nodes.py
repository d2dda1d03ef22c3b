"""Manifest text as a tree of nodes that know their line and column.

The YAML that is accepted is the JSON-like core: mappings with string keys, lists, strings,
numbers, booleans, null. Anchors, aliases, tags, merge keys and duplicate keys are refused, and
size, depth and node count are bounded before anything is built, so no document can expand.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from modelry.domain.errors import ManifestInvalid

MAX_TEXT_BYTES = 256 * 1024
MAX_DEPTH = 24
MAX_NODES = 50_000
MAX_DOCUMENTS = 64
MAX_INTEGER = 2**63 - 1

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_FLOAT = re.compile(
    r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)"
)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Position:
    """1-based place in the text; None when the document did not come from text."""

    line: int | None = None
    column: int | None = None


NOWHERE = Position()


@dataclass(frozen=True, slots=True)
class Node:
    """One value of the document, where it stands, and its dotted path from the root.

    `value` is a scalar, a list of nodes, or a dict from key to node; `keys` tells where each
    key of a dict stands.
    """

    value: Scalar | list[Node] | dict[str, Node]
    position: Position
    path: str
    keys: Mapping[str, Position] = field(default_factory=dict)

    def invalid(self, message: str) -> ManifestInvalid:
        """An error that points at this node."""
        return ManifestInvalid(
            message,
            line=self.position.line,
            column=self.position.column,
            param=self.path or None,
        )

    def invalid_key(self, key: str, message: str) -> ManifestInvalid:
        """An error that points at a key of this mapping."""
        position = self.keys.get(key, self.position)
        return ManifestInvalid(
            message, line=position.line, column=position.column, param=join_path(self.path, key)
        )

    def plain(self) -> Any:
        """This node and all below as plain JSON types."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def walk(self) -> Iterator[Node]:
        """This node and all below, parents first."""
        yield self
        children: Sequence[Node] = ()
        if isinstance(self.value, dict):
            children = list(self.value.values())
        elif isinstance(self.value, list):
            children = self.value
        for child in children:
            yield from child.walk()

    @property
    def kind(self) -> str:
        """What this node is, as people say it."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        return _scalar_kind(self.value)


def _scalar_kind(value: Scalar) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, str):
        return f"the text {shorten(value)}"
    return f"the number {value}"


def shorten(text: str, limit: int = 60) -> str:
    """`text` quoted for a message, cut when long."""
    return repr(text if len(text) <= limit else text[:limit] + "…")


def join_path(path: str, key: str) -> str:
    """The dotted path of `key` below `path`."""
    return f"{path}.{key}" if path else key


def did_you_mean(word: str, known: Collection[str]) -> str:
    """` Did you mean 'x'?` when something known is close to `word`, else nothing."""
    close = difflib.get_close_matches(word[:64], known, n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def nodes_from_yaml(text: str) -> list[Node]:
    """The documents of a YAML text, empty ones left out.

    Raises:
        ManifestInvalid: not the accepted subset of YAML, or beyond the bounds above.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise ManifestInvalid(
            f"The manifest is larger than {MAX_TEXT_BYTES // 1024} KiB. Put long label lists into "
            "a text file, one per line, and name it under 'files: {labels: …}'."
        )
    loader = None
    try:
        loader = _LOADER(text)
        return _Composer(loader).documents()
    except yaml.MarkedYAMLError as error:
        raise _told(error) from None
    except yaml.reader.ReaderError as error:
        raise ManifestInvalid(
            f"The manifest holds a character that YAML does not allow (position {error.position}); "
            "save it as plain UTF-8 text."
        ) from None
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        raise ManifestInvalid(f"The manifest is not readable as YAML: {error}.") from None
    finally:
        if loader is not None:
            loader.dispose()


def _told(error: yaml.MarkedYAMLError) -> ManifestInvalid:
    mark = error.problem_mark or error.context_mark
    what = " ".join(part for part in (error.context, error.problem) if part)
    message = (
        f"not valid YAML ({what or 'syntax error'}). Check the indentation, quotes and brackets "
        "at this place."
    )
    if mark is None:
        return ManifestInvalid(message)
    return ManifestInvalid(message, line=mark.line + 1, column=mark.column + 1)


class _Composer:
    """Builds nodes from parser events; refuses before it builds."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._count = 0

    def documents(self) -> list[Node]:
        found: list[Node] = []
        self._loader.get_event()  # stream start
        while not self._loader.check_event(yaml.StreamEndEvent):
            self._loader.get_event()  # document start
            node = self._node("", 0)
            self._loader.get_event()  # document end
            if node.value is not None:
                found.append(node)
            if len(found) > MAX_DOCUMENTS:
                raise node.invalid(f"More than {MAX_DOCUMENTS} documents in one text; split it.")
        return found

    def _node(self, path: str, depth: int) -> Node:
        event = self._loader.get_event()
        position = Position(event.start_mark.line + 1, event.start_mark.column + 1)
        here = Node(None, position, path)
        self._count += 1
        if self._count > MAX_NODES:
            raise here.invalid(f"More than {MAX_NODES} values in one manifest; make it smaller.")
        if depth > MAX_DEPTH:
            raise here.invalid(f"Nested deeper than {MAX_DEPTH} levels; flatten it.")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise here.invalid("Anchors (&) and aliases (*) are not accepted; repeat the value.")
        if event.tag is not None and event.tag != "!":
            raise here.invalid(
                f"The tag {shorten(event.tag)} is not accepted; write the plain value without it."
            )
        if isinstance(event, yaml.ScalarEvent):
            return Node(_scalar(event, here), position, path)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not self._loader.check_event(yaml.SequenceEndEvent):
                items.append(self._node(f"{path}[{len(items)}]", depth + 1))
            self._loader.get_event()
            return Node(items, position, path)
        return self._mapping(here, depth)

    def _mapping(self, here: Node, depth: int) -> Node:
        entries: dict[str, Node] = {}
        keys: dict[str, Position] = {}
        while not self._loader.check_event(yaml.MappingEndEvent):
            key = self._node(here.path, depth + 1)
            if isinstance(key.value, dict | list) or key.value is None:
                raise key.invalid(f"A key must be a word; this one is {key.kind}.")
            name = key.value if isinstance(key.value, str) else str(key.plain()).lower()
            if name in entries:
                raise Node(None, key.position, join_path(here.path, name)).invalid(
                    f"The key {shorten(name)} stands here twice (first on line "
                    f"{keys[name].line}); keep one."
                )
            keys[name] = key.position
            entries[name] = self._node(join_path(here.path, name), depth + 1)
        self._loader.get_event()
        return Node(entries, here.position, here.path, keys)


def _scalar(event: yaml.ScalarEvent, here: Node) -> Scalar:
    text: str = event.value
    if not event.implicit[0]:  # quoted, a block, or tagged as text
        return text
    if text in _NULLS:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if len(text) > 64:
        return text
    if _INTEGER.fullmatch(text):
        return _checked_number(int(text.replace("_", "")), here)
    if _FLOAT.fullmatch(text):
        return _checked_number(float(text), here)
    return text


def _checked_number(value: float, here: Node) -> int | float:
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise here.invalid("This number does not fit 64 bits; quote it if it is meant as text.")
    elif not math.isfinite(value):
        raise here.invalid("This number is not finite; write an ordinary number.")
    return value


def node_from_json(document: Any) -> Node:
    """The node tree of a document given as JSON types (no lines and columns).

    Raises:
        ManifestInvalid: other types, non-string keys, or beyond the bounds above.
    """
    budget = [MAX_NODES, MAX_TEXT_BYTES]
    return _from_json(document, "", 0, budget)


def _from_json(value: Any, path: str, depth: int, budget: list[int]) -> Node:
    here = Node(None, NOWHERE, path)
    budget[0] -= 1
    if isinstance(value, str):
        budget[1] -= len(value)
    if min(budget) < 0:
        raise here.invalid(
            f"The manifest is larger than {MAX_NODES} values or {MAX_TEXT_BYTES // 1024} KiB of "
            "text; make it smaller."
        )
    if depth > MAX_DEPTH:
        raise here.invalid(f"Nested deeper than {MAX_DEPTH} levels; flatten it.")
    if value is None or isinstance(value, str | bool):
        return Node(value, NOWHERE, path)
    if isinstance(value, int | float):
        return Node(_checked_number(value, here), NOWHERE, path)
    if isinstance(value, Mapping):
        entries: dict[str, Node] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise here.invalid(f"A key must be text; this one is {shorten(str(key))}.")
            budget[1] -= len(key)
            entries[key] = _from_json(item, join_path(path, key), depth + 1, budget)
        return Node(entries, NOWHERE, path)
    if isinstance(value, list | tuple):
        items = [
            _from_json(item, f"{path}[{index}]", depth + 1, budget)
            for index, item in enumerate(value)
        ]
        return Node(items, NOWHERE, path)
    raise here.invalid(f"A value of type {type(value).__name__} cannot stand in a manifest.")
