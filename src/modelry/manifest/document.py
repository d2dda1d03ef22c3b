"""`model.yaml` as frozen values: what it may say, and where it says something else.

Minimum: `name`, `task`, `files`. The manifest is declared, not resolved: nothing here looks at
the files, the task's defaults or the steps' parameters; the layers above do, and raise
`document.invalid(…)` so that their errors point at the line as well.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from modelry.domain.catalog import check_name
from modelry.domain.deployments import Scale
from modelry.domain.errors import InvalidInput, ManifestInvalid
from modelry.manifest import fields
from modelry.manifest.nodes import (
    NOWHERE,
    Node,
    Position,
    did_you_mean,
    join_path,
    node_from_json,
    nodes_from_yaml,
    shorten,
)
from modelry.manifest.sources import Source, parse_source

KEYS = (
    "name",
    "task",
    "files",
    "runtime",
    "pre",
    "post",
    "labels",
    "batch",
    "defaults",
    "limits",
    "scale",
    "metadata",
)
REQUIRED_KEYS = ("name", "task", "files")
MAIN_ROLE = "model"
MAX_PATH_CHARS = 512

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TASK = re.compile(r"[a-z][a-z0-9-]{0,63}")
_RUNTIME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_METADATA_KEY = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_DEFAULT_NUMBERS = {
    "temperature": (0.0, 100.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}
_DEFAULT_INTEGERS = {"max_tokens": (1, 2**20), "top_k": (0, 2**20), "seed": (0, 2**63 - 1)}


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How many items one engine call may take; None lets the worker find out."""

    max: int | None = None


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Bounds of the model itself: `context` in tokens (None: the model's own)."""

    context: int | None = None
    on_overflow: str = "error"


@dataclass(frozen=True, slots=True)
class ManifestDocument:
    """One parsed manifest.

    `files` maps roles to sources (role `model` is the main file). `pre` and `post` are None
    when absent (the task's defaults apply), else the steps as written, JSON types, shorthand
    not yet normalised. `positions` tells where each dotted path stands in the text.
    """

    name: str
    task: str
    files: Mapping[str, Source]
    runtime: str | None = None
    pre: tuple[Any, ...] | None = None
    post: tuple[Any, ...] | None = None
    labels: tuple[str, ...] | None = None
    batch: BatchSettings = BatchSettings()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    limits: LimitSettings = LimitSettings()
    scale: Scale | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    positions: Mapping[str, Position] = field(default_factory=dict, compare=False, repr=False)

    def invalid(self, message: str, path: str) -> ManifestInvalid:
        """An error that points at the dotted path (`pre[1].resize`), or the nearest above it."""
        where = path[:MAX_PATH_CHARS]
        while where and where not in self.positions:
            # a path may hold words that callers chose, with brackets and dots of their own
            where = re.sub(r"(\.[^.\[\]]*|\[\d+\]|[^.\[\]]+|[.\[\]])$", "", where)
        position = self.positions.get(where, NOWHERE)
        return ManifestInvalid(
            message, line=position.line, column=position.column, param=path or None
        )

    def to_json(self) -> dict[str, Any]:
        """What was declared, as JSON types that `from_mapping` takes; absent keys left out."""
        declared: dict[str, Any] = {
            "name": self.name,
            "task": self.task,
            "files": {role: str(source) for role, source in self.files.items()},
            "runtime": self.runtime,
            "pre": None if self.pre is None else list(self.pre),
            "post": None if self.post is None else list(self.post),
            "labels": None if self.labels is None else list(self.labels),
            "batch": None if self.batch.max is None else {"max": self.batch.max},
            "defaults": dict(self.defaults) or None,
            "limits": (
                None
                if self.limits == LimitSettings()
                else {"context": self.limits.context, "on_overflow": self.limits.on_overflow}
            ),
            "scale": None if self.scale is None else scale_to_json(self.scale),
            "metadata": dict(self.metadata) or None,
        }
        return {key: value for key, value in declared.items() if value is not None}


def parse_manifest(
    text: str,
    *,
    tasks: Collection[str] | None = None,
    runtimes: Collection[str] | None = None,
) -> list[ManifestDocument]:
    """The manifests of a YAML text (documents separated by `---`), at least one.

    Args:
        text: the YAML.
        tasks: names of the known tasks; None leaves the name unchecked.
        runtimes: names of the known runtimes; None leaves the name unchecked.

    Raises:
        ManifestInvalid: what is wrong, with line and column.
    """
    nodes = nodes_from_yaml(text)
    if not nodes:
        raise ManifestInvalid(
            "The manifest is empty; it needs at least 'name', 'task' and 'files'."
        )
    return [document_from_node(node, tasks=tasks, runtimes=runtimes) for node in nodes]


def from_mapping(
    document: Any,
    *,
    tasks: Collection[str] | None = None,
    runtimes: Collection[str] | None = None,
) -> ManifestDocument:
    """The manifest that JSON types describe; as `parse_manifest`, without lines.

    Raises:
        ManifestInvalid: what is wrong, with the dotted path as `param`.
    """
    return document_from_node(node_from_json(document), tasks=tasks, runtimes=runtimes)


def document_from_node(
    root: Node,
    *,
    tasks: Collection[str] | None = None,
    runtimes: Collection[str] | None = None,
    ignored: Collection[str] = (),
) -> ManifestDocument:
    """The manifest that a node tree describes.

    Args:
        root: the tree.
        tasks: names of the known tasks; None leaves the name unchecked.
        runtimes: names of the known runtimes; None leaves the name unchecked.
        ignored: further top-level keys that the caller reads itself.

    Raises:
        ManifestInvalid: what is wrong.
    """
    entries = fields.mapping(root, (*KEYS, *ignored))
    for key in REQUIRED_KEYS:
        if key not in entries:
            raise root.invalid(
                f"'{key}' is missing; a manifest needs at least 'name', 'task' and 'files'."
            )
    reader = _Sections(entries)
    return ManifestDocument(
        name=_name(entries["name"]),
        task=_known_word(entries["task"], _TASK, tasks, "task"),
        files=_files(entries["files"]),
        runtime=(
            _known_word(entries["runtime"], _RUNTIME, runtimes, "runtime")
            if reader.has("runtime")
            else None
        ),
        pre=reader.steps("pre"),
        post=reader.steps("post"),
        labels=_labels(entries["labels"]) if reader.has("labels") else None,
        batch=_batch(entries["batch"]) if reader.has("batch") else BatchSettings(),
        defaults=_defaults(entries["defaults"]) if reader.has("defaults") else {},
        limits=_limits(entries["limits"]) if reader.has("limits") else LimitSettings(),
        scale=_scale(entries["scale"]) if reader.has("scale") else None,
        metadata=_metadata(entries["metadata"]) if reader.has("metadata") else {},
        positions=_positions(root),
    )


def scale_to_json(scale: Scale) -> dict[str, Any]:
    """A scale as the manifest's `scale:` section."""
    replicas = (
        scale.min_replicas
        if scale.min_replicas == scale.max_replicas
        else f"{scale.min_replicas}..{scale.max_replicas}"
    )
    section: dict[str, Any] = {"replicas": replicas}
    if scale.idle_unload_s is not None:
        section["idle_unload"] = scale.idle_unload_s
    return section


class _Sections:
    """The optional top-level keys; an empty value counts as absent."""

    def __init__(self, entries: Mapping[str, Node]) -> None:
        self._entries = entries

    def has(self, key: str) -> bool:
        return key in self._entries and self._entries[key].value is not None

    def steps(self, key: str) -> tuple[Any, ...] | None:
        if not self.has(key):
            return None
        steps = fields.items(self._entries[key], limit=64)
        for step in steps:
            if not isinstance(step.value, str | dict) or not step.value:
                raise step.invalid(
                    f"A step is a word such as 'softmax' or 'step: parameters'; this is "
                    f"{step.kind}."
                )
        return tuple(step.plain() for step in steps)


def _positions(root: Node) -> Mapping[str, Position]:
    if root.position == NOWHERE:
        return {}
    found = {node.path: node.position for node in root.walk()}
    for node in root.walk():
        for key, position in node.keys.items():
            found[join_path(node.path, key)] = position
    return MappingProxyType(found)


def _name(node: Node) -> str:
    name = fields.text(node)
    try:
        return check_name(name)
    except InvalidInput as error:
        raise node.invalid(error.message) from None


def _known_word(
    node: Node, pattern: re.Pattern[str], known: Collection[str] | None, what: str
) -> str:
    word = fields.word(node, pattern, f"the name of a {what}, in lower-case letters")
    if known is not None and word not in known:
        raise node.invalid(
            f"Unknown {what} {shorten(word)}; known are: {', '.join(sorted(known))}."
            f"{did_you_mean(word, known)}"
        )
    return word


def _files(node: Node) -> Mapping[str, Source]:
    if isinstance(node.value, str):
        return MappingProxyType({MAIN_ROLE: _source(node)})
    entries = fields.any_mapping(node)
    if MAIN_ROLE not in entries:
        raise node.invalid(
            "'files' names no main file; write 'files: {model: <file or source>}'."
            f"{did_you_mean(MAIN_ROLE, entries)}"
        )
    if len(entries) > 64:
        raise node.invalid(f"'files' has {len(entries)} entries; at most 64.")
    found: dict[str, Source] = {}
    for role, source in entries.items():
        if not _IDENTIFIER.fullmatch(role):
            raise node.invalid_key(
                role,
                f"The role {shorten(role)} is not allowed: use lower-case letters, digits and "
                "'_', beginning with a letter, such as 'tokenizer'.",
            )
        found[role] = _source(source)
    _refuse_equal_names(node, found)
    return MappingProxyType(found)


def _refuse_equal_names(node: Node, found: Mapping[str, Source]) -> None:
    by_name: dict[str, str] = {}
    for role, source in found.items():
        other = by_name.setdefault(source.name, role)
        if other != role and str(found[other]) != str(source):
            raise node.invalid_key(
                role,
                f"The files '{other}' and '{role}' have the same name {shorten(source.name)} and "
                "different sources; a version keeps each name once. Rename one.",
            )


def _source(node: Node) -> Source:
    text = fields.text(node, limit=4096)
    try:
        return parse_source(text)
    except InvalidInput as error:
        raise node.invalid(error.message) from None


def _labels(node: Node) -> tuple[str, ...]:
    found: list[str] = []
    for item in fields.items(node):
        if isinstance(item.value, int | float) and not isinstance(item.value, bool):
            found.append(str(item.value))
        else:
            found.append(fields.text(item, limit=256))
    if not found:
        raise node.invalid("'labels' is empty; give one label per class, or leave it out.")
    return tuple(found)


def _batch(node: Node) -> BatchSettings:
    entries = fields.mapping(node, ("max",))
    if "max" not in entries or entries["max"].value is None:
        return BatchSettings()
    return BatchSettings(fields.integer(entries["max"], 1, 4096))


def _limits(node: Node) -> LimitSettings:
    entries = fields.mapping(node, ("context", "on_overflow"))
    context = entries.get("context")
    overflow = entries.get("on_overflow")
    return LimitSettings(
        context=(
            None
            if context is None or context.value is None
            else fields.integer(context, 1, 16 * 2**20)
        ),
        on_overflow="error" if overflow is None else fields.choice(overflow, ("error",)),
    )


def _scale(node: Node) -> Scale:
    entries = fields.mapping(node, ("replicas", "idle_unload"))
    low, high = fields.bounds(entries["replicas"], 64) if "replicas" in entries else (1, 1)
    idle = entries.get("idle_unload")
    idle_s = None if idle is None or idle.value is None else fields.duration_s(idle)
    try:
        return Scale(low, high, idle_s)
    except InvalidInput as error:
        raise entries.get("replicas", node).invalid(error.message) from None


def _metadata(node: Node) -> Mapping[str, str]:
    entries = fields.any_mapping(node)
    if len(entries) > 64:
        raise node.invalid(f"'metadata' has {len(entries)} entries; at most 64.")
    found: dict[str, str] = {}
    for key, item in entries.items():
        if not _METADATA_KEY.fullmatch(key):
            raise node.invalid_key(
                key,
                f"The metadata key {shorten(key)} is not allowed: use up to 64 letters, digits, "
                "'.', '_' and '-', beginning with a letter.",
            )
        value = item.value
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[key] = str(value)
        else:
            found[key] = fields.text(item, limit=4096, empty=True)
    return MappingProxyType(found)


def _defaults(node: Node) -> Mapping[str, Any]:
    entries = fields.any_mapping(node)
    found: dict[str, Any] = {}
    for key, item in entries.items():
        if not _IDENTIFIER.fullmatch(key):
            raise node.invalid_key(
                key,
                f"The key {shorten(key)} under 'defaults' is not allowed: use a request field's "
                f"name such as 'temperature'.{did_you_mean(key, _DEFAULT_NUMBERS)}",
            )
        found[key] = _default(key, item)
    return MappingProxyType(found)


def _default(key: str, item: Node) -> Any:
    if key in _DEFAULT_NUMBERS:
        return fields.number(item, *_DEFAULT_NUMBERS[key])
    if key in _DEFAULT_INTEGERS:
        return fields.integer(item, *_DEFAULT_INTEGERS[key])
    if key == "system":
        return fields.text(item, limit=32_768, empty=True)
    if isinstance(item.value, list):
        return [fields.text(part, limit=256) for part in fields.items(item, limit=64)]
    if isinstance(item.value, dict):
        raise item.invalid(
            f"'{item.path}' must be text, a number, true, false, or a list of texts."
        )
    return item.value
