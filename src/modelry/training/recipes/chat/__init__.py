"""`chat`: a registered chat model learns from conversations, by low-rank adapters (LoRA).

The base version's GGUF file stays as it is. Beside it the new version has an adapter file, which
llama.cpp adds to the weights when it serves. Hu et al., 2021, https://arxiv.org/abs/2106.09685.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, Literal

from pydantic import Field

from modelry.domain.datasets import Column, ColumnRole, ColumnType, DataDescription
from modelry.domain.errors import InvalidInput
from modelry.training.contract import BaseVersion, Parameters, Run, Trained, TrainingData
from modelry.training.options import LoopParameters, Optimiser, ScheduleName
from modelry.training.selection import choose_column, choose_splits

Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PROJECTIONS: tuple[Projection, ...] = (
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
)  # fmt: skip
MODEL_ROLE, ADAPTER_ROLE = "model", "adapter"


class ChatParameters(LoopParameters):
    """Parameters of `chat`."""

    epochs: int = Field(3, ge=1, le=100_000, description="how often every row is seen")
    batch_size: int = Field(8, ge=1, le=65_536, description="conversations per step")
    optimiser: Optimiser = Field("adamw", description="how gradients change weights")
    learning_rate: float = Field(5e-4, gt=0.0, le=100.0, description="its largest step size")
    schedule: ScheduleName = Field(
        "cosine", description="how the learning rate changes over the steps"
    )
    warm_up: float = Field(
        0.05, ge=0.0, le=0.9, description="the share of all steps over which it rises at first"
    )
    clip_gradient: float | None = Field(
        1.0, gt=0.0, le=1e6, description="the largest norm of a step's gradient"
    )
    rank: int = Field(
        8, ge=1, le=1024, description="of the adapters: how much can be learnt, and their size"
    )
    alpha: float = Field(
        16.0,
        gt=0.0,
        le=65_536.0,
        description="how strongly the adapters act: what they give is multiplied by alpha / rank",
    )
    dropout: float = Field(
        0.0, ge=0.0, lt=1.0, description="the share of the adapters' inputs left out at random"
    )
    targets: tuple[Projection, ...] = Field(
        PROJECTIONS,
        min_length=1,
        max_length=len(PROJECTIONS),
        description="the matrices of each layer that get an adapter",
    )
    max_tokens: int | None = Field(
        None,
        ge=8,
        le=131_072,
        description="tokens that a conversation may have; longer ones are not learnt from; by "
        "default 1024, or what the model was made for if that is less",
    )
    recompute: bool = Field(
        default=False,
        description="compute each layer twice to keep less in memory: for long conversations",
    )
    messages_column: str | None = Field(None, description="the column with the conversations")


class Chat:
    """Implements `Recipe` and `ChecksBase`."""

    name: ClassVar[str] = "chat"
    summary: ClassVar[str] = (
        "A registered chat model (GGUF) learns from conversations, by low-rank adapters (LoRA)."
    )
    tasks: ClassVar[tuple[str, ...]] = ("chat",)
    parameters: ClassVar[type[Parameters]] = ChatParameters

    def check(self, data: DataDescription, parameters: Any) -> None:
        """See `Recipe.check`."""
        choose_splits(data, parameters)
        chosen_column(data, parameters)
        twice = [one for one in PROJECTIONS if parameters.targets.count(one) > 1]
        if twice:
            raise InvalidInput(f"'targets' names '{twice[0]}' twice.", param="targets")

    def check_base(self, base: BaseVersion | None, files: Collection[str], parameters: Any) -> None:
        """See `ChecksBase.check_base`."""
        del files, parameters
        if base is None:
            raise InvalidInput(
                "The recipe 'chat' trains a registered chat model further; name its version with "
                "'base', such as 'assistant@1'.",
                param="base",
            )
        task, kind = base.manifest["task"], base.manifest["format"]
        if task != "chat" or kind != "gguf":
            raise InvalidInput(
                f"{base.ref} has the task '{task}' and is of the format '{kind}'; the recipe "
                "'chat' trains chat models that are GGUF files.",
                param="base",
            )

    def train(self, data: TrainingData, parameters: Any, run: Run) -> Trained:
        """See `Recipe.train`."""
        from modelry.training.recipes.chat.training import train

        return train(data, parameters, run)


def chosen_column(data: DataDescription, parameters: ChatParameters) -> Column:
    """The column of conversations.

    Raises:
        InvalidInput: there is none.
    """
    return choose_column(
        data,
        ColumnRole.FEATURE,
        (ColumnType.TEXT,),
        parameters.messages_column,
        "messages_column",
    )
