"""What a recipe is, and what it gets and gives.

Data -> model -> loss -> optimiser -> loop -> export -> parity check: a recipe says the first four,
`training.loop` runs the fifth, `training.export` and `training.parity` the last two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from modelry.domain.datasets import DataDescription
from modelry.runtime_api.engine import StopSignal

if TYPE_CHECKING:
    import pyarrow as pa


class Parameters(BaseModel):
    """Base of a recipe's parameters: each field has a description, bounds and a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingData(Protocol):
    """The rows of a dataset version, read shard by shard."""

    @property
    def description(self) -> DataDescription:
        """What they are."""
        ...

    def batches(
        self, split: str, columns: Sequence[str] | None = None, rows: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        """All rows of a split in order, at most `rows` at a time, one shard in memory.

        Raises:
            NotFound: there is no such split.
        """
        ...

    def parts(self, split: str) -> int:
        """How many parts the rows of a split are kept in; reading one again reads no other.

        Raises:
            NotFound: there is no such split.
        """
        ...

    def part(
        self, split: str, number: int, columns: Sequence[str] | None = None, rows: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one part, by its number from 0; see `batches`.

        Raises:
            NotFound: there is no such split.
        """
        ...


@dataclass(frozen=True, slots=True)
class BaseVersion:
    """A registered version that is trained further, as the catalogue knows it.

    Attributes:
        ref: `name@3`.
        manifest: resolved: `task`, `runtime`, `format`, `files`, `pre`, `post`, ...
    """

    ref: str
    manifest: Mapping[str, Any]

    def to_wire(self) -> dict[str, Any]:
        """As JSON types."""
        return {"ref": self.ref, "manifest": dict(self.manifest)}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> BaseVersion:
        """What `to_wire` wrote."""
        return cls(wire["ref"], wire["manifest"])


class Run(Protocol):
    """What a recipe may use while it works."""

    @property
    def seed(self) -> int:
        """All randomness follows from it."""
        ...

    @property
    def scratch(self) -> Path:
        """A folder in memory for files on their way out."""
        ...

    @property
    def stop(self) -> StopSignal:
        """Raised when the run is to end now; `loop` looks at it after every step."""
        ...

    @property
    def base(self) -> Mapping[str, Path]:
        """Files, by role, of the version that is trained further; empty for none."""
        ...

    @property
    def base_version(self) -> BaseVersion | None:
        """The version that `base` is of; None for none, or for files of their own."""
        ...

    def progress(self, done: int, total: int | None, unit: str, phase: str = "") -> None:
        """Tell how far it is."""
        ...

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Tell a point of the live curves."""
        ...

    def log(self, line: str) -> None:
        """Tell a line of the log."""
        ...

    def save_checkpoint(self, step: int, file: Path) -> None:
        """Keep a checkpoint from which `resume` goes on, with bit-equal results on a CPU."""
        ...

    def checkpoint(self) -> Path | None:
        """The last checkpoint that this run, or an earlier attempt of it, saved; None at first."""
        ...


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the exported model's answers are from the trained one's, on real rows."""

    rows: int
    max_abs: float
    max_rel: float
    tolerance: float
    metric: str = ""
    trained_metric: float | None = None
    exported_metric: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether the version may be registered."""
        return self.max_abs <= self.tolerance

    def to_wire(self) -> dict[str, Any]:
        """As JSON types."""
        names = ("rows", "max_abs", "max_rel", "tolerance", "metric", "trained_metric",
                 "exported_metric")  # fmt: skip
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a run.

    Attributes:
        manifest: of the new version, without its name: task, files, pre, post, ...
        files: by role, as the manifest names them, in the run's scratch folder.
        metrics: final ones, of the validation split where there is one.
        parity: that of the exported model.
        weights_digest: `sha256:<hex>` of all trained weights, in a stable order.
        kept: further files to keep with the job, by name (the `.keras` file, curves, ...).
        reused: files of the base version that are the new version's as well, by its role for them:
            the role that they have in the base. The manifest names them as the base does.
    """

    manifest: Mapping[str, Any]
    files: Mapping[str, Path]
    metrics: Mapping[str, float]
    parity: Parity
    weights_digest: str
    kept: Mapping[str, Path] = field(default_factory=dict)
    reused: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class ChecksBase(Protocol):
    """A recipe that says before anything is queued whether it can begin from a version or files.

    Recipes without it find out when they train.
    """

    def check_base(self, base: BaseVersion | None, files: Collection[str], parameters: Any) -> None:
        """See that the recipe can begin from what is given.

        Args:
            base: the version that is to be trained further.
            files: roles of its files, or of files of their own; empty for none.
            parameters: of the recipe.

        Raises:
            InvalidInput: it cannot; says what it takes.
        """
        ...


class Recipe(Protocol):
    """One way to train. Importable, and all but `train` usable, without a framework."""

    name: ClassVar[str]
    summary: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]
    """Tasks that its versions may have."""
    parameters: ClassVar[type[Parameters]]

    def check(self, data: DataDescription, parameters: Any) -> None:
        """See that the data suits, before anything is queued.

        Raises:
            InvalidInput: it does not; says which column, split or class is the matter.
        """
        ...

    def train(self, data: TrainingData, parameters: Any, run: Run) -> Trained:
        """Train, export, check parity.

        Raises:
            InvalidInput: rows cannot be used; names them.
            TrainingDiverged: the loss is no number any more; says at which step.
            Cancelled: `run.stop` was raised; a checkpoint was saved.
        """
        ...
