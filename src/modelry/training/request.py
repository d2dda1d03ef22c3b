"""What the server asks the work `train` for, and what it is told: both ends in one place.

Files that the work opens: a shard by its digest, `checkpoint` (the last one that was saved), and
`base/<role>`. Files that it hands over: `checkpoint` (`about`: the step), `file/<role>` and
`kept/<name>` (`about`: the file's name).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelry.domain.datasets import DataDescription, DatasetVersion, Schema
from modelry.training.contract import BaseVersion

WORK = "train"
CHECKPOINT = "checkpoint"
BASE = "base/"
FILE = "file/"
KEPT = "kept/"


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """A recipe, its parameters, and the rows to train on.

    Attributes:
        recipe: its name.
        parameters: of the recipe.
        seed: all randomness follows from it.
        data: what the rows are.
        shards: the digests of each split's shards, in order.
        base: roles of the files that training begins from, with their names.
        base_version: the version that they are of, if they are of one.
    """

    recipe: str
    parameters: Mapping[str, Any]
    seed: int
    data: DataDescription
    shards: Mapping[str, Sequence[str]]
    base: Mapping[str, str] = field(default_factory=dict)
    base_version: BaseVersion | None = None

    def to_wire(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "recipe": self.recipe,
            "parameters": dict(self.parameters),
            "seed": self.seed,
            "data": {
                "ref": self.data.ref,
                "digest": self.data.digest,
                "schema": self.data.schema.to_wire(),
                "rows": dict(self.data.rows),
                "statistics": dict(self.data.statistics),
            },
            "shards": {split: list(digests) for split, digests in self.shards.items()},
            "base": dict(self.base),
            "base_version": None if self.base_version is None else self.base_version.to_wire(),
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> TrainRequest:
        """The request that `to_wire` wrote."""
        data, base_version = wire["data"], wire.get("base_version")
        return cls(
            recipe=wire["recipe"],
            parameters=wire["parameters"],
            seed=wire["seed"],
            data=DataDescription(
                ref=data["ref"],
                digest=data["digest"],
                schema=Schema.from_wire(data["schema"]),
                rows=data["rows"],
                statistics=data["statistics"],
            ),
            shards=wire["shards"],
            base=wire["base"],
            base_version=None if base_version is None else BaseVersion.from_wire(base_version),
        )


def describe(version: DatasetVersion) -> DataDescription:
    """What a recipe is told of a dataset version."""
    return DataDescription(
        ref=version.ref,
        digest=version.digest,
        schema=version.schema,
        rows={one.name: one.rows for one in version.splits},
        statistics=version.statistics,
    )


def shards_of(version: DatasetVersion) -> dict[str, list[str]]:
    """The digests of each split's shards, in order."""
    return {one.name: [shard.digest for shard in one.shards] for one in version.splits}
