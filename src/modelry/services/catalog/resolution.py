"""From a declared manifest and its files to the resolved manifest that a version keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from modelry.domain.catalog import NAME_PATTERN, ModelFile, check_name
from modelry.domain.errors import InvalidInput, NotSupported
from modelry.manifest.document import MAIN_ROLE, ManifestDocument
from modelry.manifest.inspect.facts import FileFacts
from modelry.manifest.inspect.files import inspect_file, inspect_weights
from modelry.manifest.sources import PathSource
from modelry.runtime_api.registry import runtime_names
from modelry.services.catalog.ports import TaskRules
from modelry.services.catalog.registration import ResolvedManifest
from modelry.tasks.contract import ModelFacts, Steps

RUNTIME_OF_FORMAT = {"onnx": "onnx", "gguf": "llamacpp", "seq2seq": "seq2seq"}
"""Which runtime serves a format when the manifest names none."""

FORMATS_OF_RUNTIME = {
    "onnx": frozenset({"onnx"}),
    "llamacpp": frozenset({"gguf"}),
    "openvino": frozenset({"onnx", "gguf"}),
    "seq2seq": frozenset({"seq2seq"}),
}
"""What our own runtimes read; those of others say so themselves when they load."""

MAX_LABELS = 100_000
MAX_LABELS_BYTES = 8 * 2**20
MAX_FILE_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A content of the tenant under the name that it has in a version."""

    name: str
    digest: str
    size_bytes: int
    path: Path


class Resolver:
    """Resolves manifests; looks at files, keeps nothing.

    Args:
        rules: what tasks and processing steps know.
    """

    def __init__(self, rules: TaskRules) -> None:
        self._rules = rules

    def resolve(
        self, document: ManifestDocument, files: Mapping[str, StoredFile]
    ) -> ResolvedManifest:
        """Fill in everything that the manifest leaves open, and check that its parts fit.

        Args:
            document: the manifest as declared.
            files: its files, by the roles that it names.

        Raises:
            FileRefused: a file is damaged, disguised, or of a refused format.
            ManifestInvalid: the manifest does not fit its files; points at the line.
            NotSupported: no runtime or task can use the files.
        """
        check_name(document.name)
        _check_known(document, "task", document.task, self._rules.names())
        _check_roles(document, files)
        inspected = _inspect(document, files)
        main = inspected[MAIN_ROLE]
        runtime, notes = _runtime(document, main)
        facts = _facts(files, inspected)
        if document.labels is None and "labels" in files:
            read_labels(document, files["labels"])
        steps = self._rules.steps(document, facts)
        self._rules.check(document, facts, steps)
        return ResolvedManifest(
            document=_resolved_document(document, files, runtime, main.format, steps),
            signature=main.signature,
            files=tuple(
                ModelFile(role, file.name, file.digest, file.size_bytes)
                for role, file in sorted(files.items())
            ),
            notes=(
                *notes,
                *_default_notes(document, steps),
                *steps.notes,
                *_warnings(files, inspected),
            ),
        )

    def resolve_bare(
        self, file: StoredFile, *, name: str | None, task: str | None
    ) -> ResolvedManifest:
        """Infer a manifest for a single file; the notes say what was inferred, and from what.

        Raises:
            FileRefused: the file is damaged, disguised, or of a refused format.
            InvalidInput: no name can be made of the file's, or its task cannot be told.
        """
        notes: list[str] = []
        if name is None:
            name = name_from_file(file.name)
            notes.append(f"name '{name}', from the file's name")
        source = PathSource(_plain_name(file.name))
        draft = ManifestDocument(name, task or "", {MAIN_ROLE: source})
        if task is None:
            inspected = _inspect(draft, {MAIN_ROLE: file})
            recognised = self._rules.recognise(_facts({MAIN_ROLE: file}, inspected))
            if not recognised:
                raise InvalidInput(
                    f"The task of '{file.name}' cannot be told from the file. Say which it is; "
                    f"known are: {', '.join(self._rules.names())}.",
                    param="task",
                )
            best = recognised[0]
            why = f": {'; '.join(best.notes)}" if best.notes else ""
            notes.append(f"task '{best.task}'{why}")
            draft = replace(draft, task=best.task)
        resolved = self.resolve(draft, {MAIN_ROLE: file})
        return replace(resolved, notes=(*notes, *resolved.notes))


def name_from_file(file_name: str) -> str:
    """A model name made of a file's: `SmolLM2-135M.Q4_1.gguf` gives `smollm2-135m.q4_1`.

    Raises:
        InvalidInput: nothing usable is in it.
    """
    stem = _plain_name(file_name).rsplit(".", 1)[0].lower()
    name = re.sub(r"[^a-z0-9._-]+", "-", stem)[:64].strip("._-")
    if not NAME_PATTERN.fullmatch(name):
        raise InvalidInput(
            f"No model name can be made of the file name {file_name[:80]!r}; give one.",
            param="name",
        )
    return name


def read_labels(document: ManifestDocument, file: StoredFile) -> list[str]:
    """The labels of a text file, one per line.

    Raises:
        ManifestInvalid: too many, none, or not UTF-8 text.
    """
    if file.size_bytes > MAX_LABELS_BYTES:
        raise document.invalid(
            f"The labels file '{file.name}' has {file.size_bytes} bytes; expected one label per "
            f"line, at most {MAX_LABELS_BYTES} bytes.",
            "files.labels",
        )
    try:
        labels = file.path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise document.invalid(
            f"The labels file '{file.name}' is not UTF-8 text; save it as UTF-8, one label per "
            "line.",
            "files.labels",
        ) from None
    if not 1 <= len(labels) <= MAX_LABELS:
        raise document.invalid(
            f"The labels file '{file.name}' has {len(labels)} lines; expected 1 to {MAX_LABELS}, "
            "one label each.",
            "files.labels",
        )
    return labels


def _plain_name(file_name: str) -> str:
    """The last part of a file name that a caller sent, safe to show and to keep."""
    name = re.split(r"[/\\]", file_name)[-1]
    is_usable = name not in ("", ".", "..") and name.isprintable()
    if not is_usable or len(name.encode()) > MAX_FILE_NAME_BYTES:
        raise InvalidInput(
            f"The file name {file_name[:80]!r} is not usable; expected 1 to "
            f"{MAX_FILE_NAME_BYTES} bytes of printable characters.",
            param="file",
        )
    return name


def _check_known(document: ManifestDocument, key: str, word: str, known: Sequence[str]) -> None:
    if word not in known:
        raise document.invalid(
            f"Unknown {key} '{word[:80]}'; known are: {', '.join(sorted(known))}.", key
        )


def _check_roles(document: ManifestDocument, files: Mapping[str, StoredFile]) -> None:
    missing = sorted(set(document.files) - set(files))
    if missing:
        raise document.invalid(
            f"The manifest names the file '{missing[0]}', which was not given; give the digest of "
            "its uploaded content.",
            f"files.{missing[0]}",
        )
    extra = sorted(set(files) - set(document.files))
    if extra:
        raise InvalidInput(
            f"The file '{extra[0][:80]}' was given, which the manifest does not name; it names: "
            f"{', '.join(sorted(document.files))}.",
            param="files",
        )


def _inspect(
    document: ManifestDocument, files: Mapping[str, StoredFile]
) -> Mapping[str, FileFacts]:
    """What each file is; the main file first, because it says which others belong to it."""
    main = files[MAIN_ROLE]
    others = {role: file for role, file in files.items() if role != MAIN_ROLE}
    companions = {file.name: file.path for file in others.values()}
    found = {MAIN_ROLE: inspect_file(main.path, name=main.name, companions=companions)}
    for role, file in others.items():
        if file.name in found[MAIN_ROLE].companions:
            found[role] = inspect_weights(file.path, name=file.name)
        else:
            found[role] = inspect_file(file.path, name=file.name)
    missing = sorted(set(found[MAIN_ROLE].companions) - set(companions))
    if missing:
        raise document.invalid(
            f"The model file '{main.name}' keeps data in the file '{missing[0][:80]}'; name it "
            "under 'files' as well.",
            "files",
        )
    return found


def _facts(files: Mapping[str, StoredFile], inspected: Mapping[str, FileFacts]) -> ModelFacts:
    main = inspected[MAIN_ROLE]
    return ModelFacts(
        format=main.format,
        signature=main.signature,
        metadata=main.metadata,
        files={role: file.path for role, file in files.items()},
        formats={role: facts.format for role, facts in inspected.items()},
    )


def _runtime(document: ManifestDocument, main: FileFacts) -> tuple[str, list[str]]:
    known = runtime_names()
    if document.runtime is None:
        inferred = RUNTIME_OF_FORMAT.get(main.format)
        if inferred is None:
            raise NotSupported(
                f"The model file is of the format '{main.format}', which no runtime serves by "
                f"itself; served are: {', '.join(sorted(RUNTIME_OF_FORMAT))}. A manifest can name "
                f"one with 'runtime:'; known are: {', '.join(known)}.",
                param="files.model",
            )
        return inferred, [f"runtime '{inferred}', because the file is of format {main.format}"]
    _check_known(document, "runtime", document.runtime, known)
    readable = FORMATS_OF_RUNTIME.get(document.runtime)
    if readable is not None and main.format not in readable:
        raise document.invalid(
            f"Runtime '{document.runtime}' reads {' and '.join(sorted(readable))}; the model file "
            f"is of the format '{main.format}'.",
            "runtime",
        )
    return document.runtime, []


def _resolved_document(
    document: ManifestDocument,
    files: Mapping[str, StoredFile],
    runtime: str,
    main_format: str,
    steps: Steps,
) -> dict[str, Any]:
    return {
        "name": document.name,
        "task": document.task,
        "runtime": runtime,
        "format": main_format,
        "files": {
            role: {"name": file.name, "digest": file.digest, "size_bytes": file.size_bytes}
            for role, file in sorted(files.items())
        },
        "pre": [dict(step) for step in steps.pre],
        "post": [dict(step) for step in steps.post],
        "labels": None if document.labels is None else list(document.labels),
        "batch": {"max": document.batch.max},
        "defaults": dict(document.defaults),
        "limits": {
            "context": document.limits.context,
            "on_overflow": document.limits.on_overflow,
        },
        "scale": {} if document.scale is None else asdict(document.scale),
        "metadata": dict(document.metadata),
    }


def _default_notes(document: ManifestDocument, steps: Steps) -> list[str]:
    notes = []
    for key, declared, chosen in (
        ("pre", document.pre, steps.pre),
        ("post", document.post, steps.post),
    ):
        if declared is None and chosen:
            words = ", ".join(str(step["step"]) for step in chosen)
            notes.append(f"'{key}' of the task '{document.task}': {words}")
    return notes


def _warnings(files: Mapping[str, StoredFile], inspected: Mapping[str, FileFacts]) -> list[str]:
    return [
        f"{files[role].name}: {warning}"
        for role, facts in sorted(inspected.items())
        for warning in facts.warnings
    ]
