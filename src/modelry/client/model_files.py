"""What a user names to register, taken apart: a `model.yaml`, a folder, or a bare file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelry.client.errors import InvalidInput

MANIFEST_NAMES = ("model.yaml", "model.yml")
MODEL_SUFFIXES = (".onnx", ".gguf")
MAX_MANIFEST_BYTES = 2**20

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PROMISE = re.compile(r"#sha256=[0-9a-fA-F]*$")


@dataclass(frozen=True, slots=True)
class BareFile:
    """A model file without a manifest; the server infers one."""

    path: Path


@dataclass(frozen=True, slots=True)
class LocalManifest:
    """One manifest whose files are here. `text` keeps the line numbers of its file."""

    text: str
    files: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class RemoteManifest:
    """One manifest whose files the server fetches itself."""

    text: str


Registrable = BareFile | LocalManifest | RemoteManifest


def read_registrable(path: str | Path) -> list[Registrable]:
    """What `path` holds; a manifest file may hold several.

    Raises:
        InvalidInput: nothing that can be registered; says what is missing.
    """
    place = Path(path)
    if place.is_dir():
        return _in_folder(place)
    if not place.is_file():
        raise InvalidInput(
            f"'{place}' is not there; give a model.yaml, a folder with one, or a model file.",
            param="path",
        )
    if place.suffix.lower() in (".yaml", ".yml"):
        return _in_manifest(place)
    return [BareFile(place)]


def _in_folder(folder: Path) -> list[Registrable]:
    for name in MANIFEST_NAMES:
        if (folder / name).is_file():
            return _in_manifest(folder / name)
    files = sorted(one for one in folder.iterdir() if one.is_file() and one.name[0] != ".")
    models = [one for one in files if one.suffix.lower() in MODEL_SUFFIXES]
    if len(models) == 1 and len(files) == 1:
        return [BareFile(models[0])]
    if not models:
        raise InvalidInput(
            f"Folder '{folder}' has neither a model.yaml nor a model file "
            f"({', '.join(MODEL_SUFFIXES)}).",
            param="path",
        )
    raise InvalidInput(
        f"Folder '{folder}' has several files and no model.yaml that says what each is for. "
        f"Name the model file itself ('{models[0]}') to register it alone, or write "
        f"'{folder / MANIFEST_NAMES[0]}', such as:\n{_suggestion(folder, models[0], files)}",
        param="path",
    )


def _suggestion(folder: Path, model: Path, files: list[Path]) -> str:
    roles = {"model": model.name}
    for file in files:
        if file.name in ("labels.txt", "tokenizer.json", "config.json"):
            roles[file.stem] = file.name
    inner = ", ".join(f"{role}: {name}" for role, name in roles.items())
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("._-")
    name = name or "my-model"
    return f"  name: {name}\n  task: image-classification   # or another\n  files: {{{inner}}}"


def _in_manifest(path: Path) -> list[Registrable]:
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise InvalidInput(f"'{path}' is larger than any manifest.", param="path")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput(f"'{path}' is not UTF-8 text.", param="path") from None
    found = [_of_document(path, part, value) for part, value in _documents(path, text)]
    if not found:
        raise InvalidInput(f"'{path}' holds no manifest.", param="path")
    return found


def _documents(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Each document's text, moved to the line that it has in the file, and its value.

    Only what the files are is read here; the server judges the rest.
    """
    import yaml

    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        values = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise InvalidInput(f"'{path}' is not valid YAML: {error}", param="path") from None
    for node, value in zip(nodes, values, strict=True):
        if value is None:
            continue
        start, end = node.start_mark.index, node.end_mark.index
        begin_of_line = text.rfind("\n", 0, start) + 1
        yield "\n" * node.start_mark.line + text[begin_of_line:end], value


def _of_document(path: Path, text: str, value: Any) -> Registrable:
    files = value.get("files") if isinstance(value, dict) else None
    if not isinstance(files, dict) or not all(isinstance(one, str) for one in files.values()):
        return LocalManifest(text, {})  # the server says what is wrong, and where
    remote = sorted(role for role, source in files.items() if _SCHEME.match(source))
    if len(remote) == len(files):
        return RemoteManifest(text)
    if remote:
        raise InvalidInput(
            f"'{path}' mixes files that are here with ones that are elsewhere "
            f"({', '.join(remote)}). Fetch those first, or give all files as sources that the "
            "server can reach.",
            param="files",
        )
    return LocalManifest(
        text, {str(role): _local_file(path, role, source) for role, source in files.items()}
    )


def _local_file(manifest: Path, role: str, source: str) -> Path:
    found = manifest.parent / _PROMISE.sub("", source)
    if not found.is_file():
        raise InvalidInput(
            f"'{manifest}' names the file '{source}' ({role}), which is not there; paths are "
            f"relative to '{manifest.parent}'.",
            param=f"files.{role}",
        )
    return found
