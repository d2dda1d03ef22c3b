"""Fakes of what the catalogue asks of tasks and hubs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelry.domain.errors import NotSupported, SourceUnavailable
from modelry.manifest.digests import digest_of_file
from modelry.manifest.document import ManifestDocument
from modelry.services.catalog.ports import OnProgress
from modelry.tasks.contract import ModelFacts, Recognition, Steps

FORMATS = {"chat": "gguf", "tabular": "onnx", "tensor": "onnx"}
"""What the fake tasks take."""


class FakeTaskRules:
    """`TaskRules` of the tasks `chat`, `tabular` and `tensor`: steps go through unchecked.

    Set `refuse` to have `check` raise it; `checked` are the facts that `check` saw.
    """

    def __init__(self) -> None:
        self.refuse: Exception | None = None
        self.checked: list[ModelFacts] = []

    def names(self) -> Sequence[str]:
        """Three tasks."""
        return tuple(FORMATS)

    def recognise(self, facts: ModelFacts) -> list[Recognition]:
        """By format alone."""
        why = f"it is {facts.format}"
        fit = [task for task, wanted in FORMATS.items() if wanted == facts.format]
        return [Recognition(task, 1.0, (why,)) for task in reversed(fit)]

    def steps(self, document: ManifestDocument, facts: ModelFacts) -> Steps:
        """As declared; a default post step for `tensor`."""
        del facts
        default: tuple[Any, ...] = ("identity",) if document.task == "tensor" else ()
        post = default if document.post is None else document.post
        return Steps(_steps(document.pre or ()), _steps(post))

    def check(self, document: ManifestDocument, facts: ModelFacts, steps: Steps) -> None:
        """Refuses another format than the task's; raises what it was told to."""
        del steps
        self.checked.append(facts)
        if FORMATS[document.task] != facts.format:
            raise NotSupported(f"'{document.task}' cannot use the format '{facts.format}'.")
        if self.refuse is not None:
            raise self.refuse


def _steps(declared: Sequence[Any]) -> list[Mapping[str, Any]]:
    return [one if isinstance(one, Mapping) else {"step": str(one)} for one in declared]


@dataclass(frozen=True, slots=True)
class FakeProgress:
    """How far a fake fetch is."""

    source: str
    phase: str
    done_bytes: int
    total_bytes: int | None


@dataclass(frozen=True, slots=True)
class FakeFetchedFile:
    """What a fake fetch gave."""

    path: Path
    name: str
    digest: str
    source: str


class FakeFetcher:
    """A `SourceFetcher` that knows some files by their sources; `fetched` are the sources asked."""

    def __init__(self, files: Mapping[str, Path] | None = None) -> None:
        self.files = dict(files or {})
        self.fetched: list[str] = []

    def fetch(
        self, source: str, destination: Path, on_progress: OnProgress | None = None
    ) -> FakeFetchedFile:
        """A copy of the file that `source` stands for."""
        self.fetched.append(source)
        plain = source.split("#", maxsplit=1)[0]
        if plain not in self.files:
            raise SourceUnavailable(f"Source '{source}' did not answer.")
        found = self.files[plain]
        path = Path(shutil.copy(found, destination / found.name))
        size = path.stat().st_size
        if on_progress is not None:
            on_progress(FakeProgress(source, "done", size, size))
        return FakeFetchedFile(path, found.name, digest_of_file(path), f"{plain}@exact")


class FakeStarters:
    """A `StarterCatalogue` of given entries."""

    def __init__(self, *entries: ManifestDocument) -> None:
        self._entries = {entry.name: entry for entry in entries}

    def find(self, name: str) -> ManifestDocument | None:
        """The entry called `name`."""
        return self._entries.get(name)

    def names(self) -> Sequence[str]:
        """All entries."""
        return sorted(self._entries)
