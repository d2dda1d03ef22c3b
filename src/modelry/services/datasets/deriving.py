"""The job `derive-dataset`: a version made of others."""

from __future__ import annotations

from typing import Any, ClassVar

from modelry.datasets.plans import read_steps
from modelry.domain.access import Permission, Principal
from modelry.domain.catalog import check_name
from modelry.domain.datasets import DatasetVersion
from modelry.domain.errors import InvalidInput, NotFound
from modelry.runtime_api.work import InputFile
from modelry.services.datasets.asked import check_fields, text_of
from modelry.services.datasets.making import MakingClient, keep_version, made_version
from modelry.services.datasets.ports import NewVersion
from modelry.services.datasets.service import DatasetsService
from modelry.services.jobs.handlers import JobRun, Json

MAX_SOURCES = 64
FIELDS = frozenset({"name", "from", "steps"})


class DeriveHandler:
    """Implements `JobHandler`: `name` of what is made, `from` (references), `steps`."""

    kind: ClassVar[str] = "derive-dataset"

    def __init__(self, datasets: DatasetsService) -> None:
        self._datasets = datasets

    def check(self, principal: Principal, parameters: Json) -> Json:
        """See `JobHandler.check`; steps are those of `datasets.plans`."""
        principal.require(Permission.DATASETS_WRITE)
        check_fields(parameters, FIELDS)
        name = check_name(text_of(parameters, "name"), "dataset")
        refs = parameters.get("from")
        if not isinstance(refs, list) or not 1 <= len(refs) <= MAX_SOURCES:
            raise InvalidInput(
                f"'from' must be a list of 1 to {MAX_SOURCES} datasets, such as ['digits@3'].",
                param="from",
            )
        sources = [self._datasets.find(principal, str(one)) for one in refs]
        steps = parameters.get("steps", [])
        read_steps(steps)
        return {
            "name": name,
            "from": [one.ref for one in sources],
            "digests": [one.digest for one in sources],
            "steps": steps,
        }

    def run(self, run: JobRun) -> Json:
        """See `JobHandler.run`."""
        asked, principal = run.parameters, run.principal
        principal.require(Permission.DATASETS_WRITE)
        sources = [self._datasets.find(principal, ref) for ref in asked["from"]]
        for source, digest in zip(sources, asked["digests"], strict=True):
            if source.digest != digest:
                raise InvalidInput(f"{source.ref} is not what it was when the job was queued.")
        digests = frozenset(
            shard.digest for one in sources for split in one.splits for shard in split.shards
        )

        def opened(name: str) -> InputFile:
            if name not in digests:
                raise NotFound("There is no such shard.")
            return self._datasets.open_shard(principal.tenant_id, name)

        client = MakingClient(run, opened, self._datasets.contents)
        request = {"sources": [source_wire(one) for one in sources], "steps": asked["steps"]}
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
                "derive": {"steps": asked["steps"]},
                "from": asked["from"],
                "job": run.job_id,
            },
        )
        return keep_version(self._datasets.store, version, run, told)


def source_wire(version: DatasetVersion) -> dict[str, Any]:
    """A version as works are asked to read it; its shards are inputs by their digest."""
    return {
        "ref": version.ref,
        "digest": version.digest,
        "schema": version.schema.to_wire(),
        "splits": [
            {
                "name": split.name,
                "shards": [{"digest": one.digest, "rows": one.rows} for one in split.shards],
            }
            for split in version.splits
        ],
    }
