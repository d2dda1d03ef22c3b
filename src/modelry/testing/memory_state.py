"""The rows of one tenant in memory, and what stands for a foreign key that is broken."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from modelry.domain.access import ApiKey, Member, Tenant
from modelry.domain.catalog import Alias, AliasMove, Model, Version
from modelry.domain.datasets import Dataset, DatasetVersion
from modelry.domain.deployments import Deployment
from modelry.domain.errors import Conflict
from modelry.domain.files import TenantFile
from modelry.domain.jobs import Artefact, Attempt, Checkpoint, Job, JobEvent, Lease
from modelry.domain.lineage import Lineage
from modelry.domain.quotas import Quota
from modelry.domain.sharing import DeploymentGrant
from modelry.services.catalog.ports import BlobRecord, UploadRecord
from modelry.services.usage.ports import Segment


class BrokenReference(Conflict):
    """What a database refuses by a foreign key."""


@dataclass
class TenantState:
    """All rows of one tenant."""

    tenant: Tenant | None = None
    keys: dict[str, ApiKey] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    grants: dict[str, DeploymentGrant] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    last_numbers: dict[str, int] = field(default_factory=dict)
    versions: dict[tuple[str, int], Version] = field(default_factory=dict)
    aliases: dict[tuple[str, str], Alias] = field(default_factory=dict)
    moves: list[AliasMove] = field(default_factory=list)
    lineages: dict[tuple[str, int], Lineage] = field(default_factory=dict)
    blobs: dict[str, BlobRecord] = field(default_factory=dict)
    uploads: dict[str, UploadRecord] = field(default_factory=dict)
    datasets: dict[str, Dataset] = field(default_factory=dict)
    dataset_numbers: dict[str, int] = field(default_factory=dict)
    dataset_versions: dict[tuple[str, int], DatasetVersion] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    files: dict[str, TenantFile] = field(default_factory=dict)
    quotas: dict[str, Quota] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    attempts: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    job_events: dict[tuple[str, int], JobEvent] = field(default_factory=dict)
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    artefacts: dict[tuple[str, str], Artefact] = field(default_factory=dict)
    segments: dict[tuple[str, int], Segment] = field(default_factory=dict)

    def copy(self) -> TenantState:
        """A copy that may be changed; the values in it are frozen and shared."""
        copied = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, dict | list):
                setattr(copied, name, value.copy())
        return copied

    def serving(self, model_name: str, number: int | None = None) -> list[str]:
        """Names of the deployments that serve a version, or any of a model."""
        return sorted(
            one.name
            for one in self.deployments.values()
            if one.model_name == model_name
            and (number is None or any(share.version_number == number for share in one.traffic))
        )
