"""Where a version comes from: the job, the recipe, the rows, the code and the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Lineage:
    """How a version was trained: all that it takes to do it again, and what came of it.

    Attributes:
        job_id: which job trained it; the job itself may be gone by now.
        recipe: the name of the recipe.
        parameters: of the recipe, with every default filled in.
        seed: all randomness followed from it.
        dataset: the version of the dataset, as `name@3`.
        dataset_digest: of its rows.
        base: the version that was trained further, as `name@3`; empty for none.
        base_files: `{"digest", "name"}` of the files that training began from, by role.
        threads: how many computed; another number may add up numbers in another order.
        weights_digest: `sha256:<hex>` of all trained weights.
        metrics: the final ones.
        parity: how far the exported model's answers are from the trained one's; see
            `training.contract.Parity.to_wire`.
        environment: of the process that trained: `code`, `python`, `libraries`, `machine`.
    """

    tenant_id: str
    model_name: str
    number: int
    job_id: str
    recipe: str
    parameters: Mapping[str, Any]
    seed: int
    dataset: str
    dataset_digest: str
    weights_digest: str
    created_at: datetime
    created_by: str
    base: str = ""
    base_files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    threads: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """The version that it is of, as `name@3`."""
        return f"{self.model_name}@{self.number}"
