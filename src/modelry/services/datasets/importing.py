"""The job `import-dataset`: a version made of files that were uploaded, or that lie on a hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from modelry.datasets.importers.formats import check_options
from modelry.datasets.plans import SplitPlan, read_plan
from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import check_name
from modelry.domain.errors import InvalidInput, NotFound, NotSupported
from modelry.manifest.sources import parse_dataset_source
from modelry.runtime_api.work import InputFile
from modelry.services.datasets.asked import check_fields, text_of
from modelry.services.datasets.hub_files import HubFiles
from modelry.services.datasets.making import MakingClient, keep_version, made_version
from modelry.services.datasets.ports import NewVersion
from modelry.services.datasets.service import DatasetsService
from modelry.services.jobs.handlers import JobRun, Json

MAX_FILES = 1000
FIELDS = frozenset({"name", "files", "source", "format", "options", "split"})
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ImportHandler:
    """Implements `JobHandler`.

    Parameters: `name` of the dataset, `files` (each `name` and `digest` of an upload) or `source`
    (`hf://datasets/org/repo@revision/folder`), `format` (None to tell it by the files), `options`
    of the format, `split` (a `SplitPlan`, or None).

    Args:
        datasets: keeps versions.
        hub: brings files from a hub; None where there is none.
    """

    kind: ClassVar[str] = "import-dataset"

    def __init__(self, datasets: DatasetsService, hub: HubFiles | None = None) -> None:
        self._datasets = datasets
        self._hub = hub

    def check(self, principal: Principal, parameters: Json) -> Json:
        """See `JobHandler.check`; options of a format that only the files tell are read later."""
        principal.require(Permission.DATASETS_WRITE)
        check_fields(parameters, FIELDS)
        name = check_name(text_of(parameters, "name"), "dataset")
        source = self._source(parameters)
        files = [] if source else self._files(principal, parameters.get("files"))
        format_, options = parameters.get("format"), parameters.get("options", {})
        if format_ is not None and not isinstance(format_, str):
            raise InvalidInput("'format' must be a text.", param="format")
        if not isinstance(options, dict):
            raise InvalidInput("'options' must be an object.", param="options")
        check_options(format_, options)
        split = parameters.get("split")
        if split is not None:
            split = read_plan(SplitPlan, split, "split").model_dump(mode="json")
        return {
            "name": name,
            "files": files,
            "source": source,
            "format": format_,
            "options": options,
            "split": split,
        }

    def run(self, run: JobRun) -> Json:
        """See `JobHandler.run`."""
        asked, principal = run.parameters, run.principal
        principal.require(Permission.DATASETS_WRITE)
        asked = {**asked, **self._brought(run)}
        digests = {one["name"]: one["digest"] for one in asked["files"]}

        def opened(name: str) -> InputFile:
            if name not in digests:
                raise NotFound(f"There is no file '{name[:80]}'.")
            return self._datasets.contents.open(principal.tenant_id, digests[name], name)

        client = MakingClient(run, opened, self._datasets.contents)
        request = {
            "files": list(digests),
            "format": asked["format"],
            "options": asked["options"],
            "split": asked["split"],
        }
        schema, splits, told = made_version((self.kind, request), run, self._datasets.works, client)
        version = NewVersion(
            tenant_id=principal.tenant_id,
            dataset_name=asked["name"],
            digest=told["digest"],
            schema=schema,
            splits=splits,
            created_at=self._datasets.clock(),
            created_by=principal.key_id,
            statistics=told["statistics"],
            report=told["report"],
            origin={
                "import": {key: asked[key] for key in FIELDS - {"name"} if asked[key] is not None},
                "source": told.get("source", {}),
                "job": run.job_id,
            },
        )
        return keep_version(self._datasets.store, version, run, told)

    def _source(self, parameters: Json) -> str | None:
        source = parameters.get("source")
        if source is None:
            return None
        if parameters.get("files"):
            raise InvalidInput("Give files or a source, not both.", param="source")
        if self._hub is None:
            raise NotSupported("This server imports nothing from a hub.", param="source")
        return str(parse_dataset_source(text_of(parameters, "source")))

    def _brought(self, run: JobRun) -> dict[str, Any]:
        """The files of the source, at its commit of now."""
        source = run.parameters.get("source")
        if source is None or self._hub is None:
            return {}
        told = self._hub.bring(parse_dataset_source(source), run.parameters["format"], run)
        return {"source": told.source, "files": told.files}

    def _files(self, principal: Principal, given: Any) -> list[Mapping[str, str]]:
        if not isinstance(given, list) or not 1 <= len(given) <= MAX_FILES:
            raise InvalidInput(
                f"'files' must be a list of 1 to {MAX_FILES} files, each with 'name' and 'digest'.",
                param="files",
            )
        files = [self._file(principal, one, f"files.{at}") for at, one in enumerate(given)]
        names = [one["name"] for one in files]
        twice = sorted({one for one in names if names.count(one) > 1})
        if twice:
            raise InvalidInput(f"Two files are called '{twice[0][:80]}'.", param="files")
        return files

    def _file(self, principal: Principal, given: Any, where: str) -> Mapping[str, str]:
        if not isinstance(given, dict):
            raise InvalidInput(f"{where} must be an object.", param=where)
        check_fields(given, frozenset({"name", "digest"}))
        name, digest = text_of(given, "name"), text_of(given, "digest")
        if len(name) > 255 or not name.isprintable():
            raise InvalidInput(
                f"{where}.name must have 1 to 255 printable characters.", param=where
            )
        if not _DIGEST.fullmatch(digest):
            raise InvalidInput(f"{where}.digest must be sha256:<64 hex digits>.", param=where)
        if self._datasets.contents.size_of(principal.tenant_id, digest) is None:
            raise NotFound(
                f"The content {digest} of the file '{name[:80]}' is not there; upload it first.",
                param=where,
            )
        return {"name": name, "digest": digest}
