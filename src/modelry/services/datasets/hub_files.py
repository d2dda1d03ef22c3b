"""Files of a dataset on a hub, fetched and kept as if they had been uploaded."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modelry.datasets.importers.hub_choice import data_files
from modelry.domain.errors import Cancelled
from modelry.manifest.sources import DatasetSource
from modelry.services.catalog.ports import FetchProgress, SourceFetcher
from modelry.services.datasets.ports import Contents
from modelry.services.jobs.handlers import JobRun


class ListedFiles(Protocol):
    """The files of a dataset's repository on a hub."""

    @property
    def commit(self) -> str:
        """At which they are."""
        ...

    @property
    def paths(self) -> tuple[str, ...]:
        """Their paths."""
        ...


class DatasetHub(SourceFetcher, Protocol):
    """Lists the files of datasets on a hub, and fetches them."""

    def files_of(self, source: DatasetSource) -> ListedFiles:
        """The files of a dataset's repository.

        Raises:
            SourceUnavailable: the hub does not answer, or has no such repository.
        """
        ...


@dataclass(frozen=True, slots=True)
class HubCopy:
    """What was brought: the source at a fixed commit, and each file's `name` and `digest`."""

    source: str
    files: list[Mapping[str, str]]


class HubFiles:
    """Brings files of datasets from a hub.

    Args:
        hub: lists and fetches.
        contents: keeps files.
        scratch: a folder for what is being fetched; what a killed server left in it is removed
            with what its pulls left.
    """

    def __init__(self, hub: DatasetHub, contents: Contents, scratch: Path) -> None:
        self._hub = hub
        self._contents = contents
        self._scratch = scratch

    def bring(self, source: DatasetSource, format_: str | None, run: JobRun) -> HubCopy:
        """Fetch the files with rows, and keep them.

        Raises:
            InvalidInput: the repository has no such files, or those of several configurations.
            SourceUnavailable: the hub does not answer, or has no such repository for this server.
            Cancelled: the job was stopped; what was fetched is not fetched again.
        """
        run.progress(0, None, "files", "asking the hub")
        listed = self._hub.files_of(source)
        paths = data_files(listed.paths, source.path, format_)
        files: list[Mapping[str, str]] = []
        self._scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in paths:
            file = str(source.file(listed.commit, path))
            with tempfile.TemporaryDirectory(dir=self._scratch, prefix="pull-") as folder:
                fetched = self._hub.fetch(file, Path(folder), _Telling(run))
                kept = self._contents.keep_file(run.principal.tenant_id, fetched.path)
            files.append({"name": path, "digest": kept.digest})
            run.log(f"fetched {path}: {kept.size_bytes} bytes, {kept.digest}")
        exact = DatasetSource(source.repository, listed.commit, source.path)
        return HubCopy(str(exact), files)


class _Telling:
    """Tells how far a fetch is, and ends it when the job is stopped."""

    def __init__(self, run: JobRun) -> None:
        self._run = run

    def __call__(self, told: FetchProgress) -> None:
        if self._run.stop.is_set():
            raise Cancelled("The import was stopped.")
        self._run.progress(told.done_bytes, told.total_bytes, "bytes", told.phase)
