"""What evaluation needs from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from modelry.domain.access import Principal
from modelry.domain.assessments import Assessment
from modelry.domain.catalog import Version
from modelry.domain.datasets import DatasetVersion
from modelry.domain.evaluations import Evaluation
from modelry.explaining.contract import Wish
from modelry.runtime_api.tensors import Array
from modelry.runtime_api.work import InputFile
from modelry.services.inference.answers import Explanation, Prediction, TensorAnswer
from modelry.services.inference.routing import Target

A = TypeVar("A", bound=Assessment)


class AssessmentStore(Protocol[A]):
    """Keeps assessments of one kind; every method is one transaction."""

    def add(self, assessment: A) -> None:
        """Keep a new one; again, under the same id, changes nothing.

        Raises:
            NotFound: its version is gone.
        """
        ...

    def find(self, tenant_id: str, assessment_id: str) -> A | None:
        """One of them."""
        ...

    def of_version(self, tenant_id: str, model: str, number: int) -> Sequence[A]:
        """Those of a version, newest first."""
        ...

    def of_model(self, tenant_id: str, model: str, limit: int) -> Sequence[A]:
        """The newest of a model, newest first."""
        ...

    def delete(self, tenant_id: str, assessment_id: str) -> bool:
        """Forget one; False if it was not there."""
        ...


EvaluationStore = AssessmentStore[Evaluation]


class Versions(Protocol):
    """The catalogue, as far as it is needed."""

    def resolve(self, principal: Principal, reference: str) -> Version:
        """The version that `name`, `name@number` or `name@alias` means."""
        ...

    def get_version(self, principal: Principal, name: str, number: int) -> Version:
        """One version."""
        ...


class Datasets(Protocol):
    """Datasets, as far as they are needed."""

    def find(self, principal: Principal, ref: str) -> DatasetVersion:
        """The version that `name` or `name@number` means."""
        ...

    def open_shard(self, tenant_id: str, digest: str) -> InputFile:
        """A shard in memory, which the caller closes."""
        ...


class PrivateEngines(Protocol):
    """Gives a replica of a version to one user inside of the server."""

    def privately(self, version: Version, niceness: int = 0) -> AbstractAsyncContextManager[Target]:
        """See `DeploymentsService.privately`."""
        ...


class Predictions(Protocol):
    """The data plane, as far as it is needed."""

    async def infer(
        self,
        principal: Principal,
        target: Target,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] = (),
    ) -> TensorAnswer:
        """See `InferenceService.infer`."""
        ...

    async def predict(
        self,
        principal: Principal,
        target: Target,
        items: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any] | None = None,
    ) -> Prediction:
        """See `InferenceService.predict`."""
        ...

    async def explain(
        self,
        principal: Principal,
        target: Target,
        item: Mapping[str, Any],
        options: Mapping[str, Any],
        wish: Wish,
    ) -> Explanation:
        """See `InferenceService.explain`."""
        ...


class CardPart(Protocol):
    """What else a model card tells of a version."""

    def card_lines(self, principal: Principal, version: Version) -> Sequence[str]:
        """Lines of Markdown, with a heading of the second level; none where there is nothing."""
        ...
