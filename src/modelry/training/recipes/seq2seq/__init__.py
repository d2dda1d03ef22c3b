"""`seq2seq`: an encoder-decoder transformer learns to write texts for texts.

A base version that this recipe made is trained further: its weights and vocabulary are kept.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from modelry.domain.datasets import Column, ColumnRole, ColumnType, DataDescription
from modelry.domain.errors import InvalidInput
from modelry.training.contract import Parameters, Run, Trained, TrainingData
from modelry.training.options import LoopParameters, Optimiser, ScheduleName
from modelry.training.selection import choose_column, choose_splits


class Seq2SeqParameters(LoopParameters):
    """Parameters of `seq2seq`."""

    task: Literal["translation", "summarization"] = Field(
        "translation", description="the task of the version"
    )
    source_language: str = Field("", max_length=64, description="told with the version")
    target_language: str = Field("", max_length=64, description="told with the version")
    source_column: str | None = Field(None, description="the column with the texts that are given")
    target_column: str | None = Field(None, description="the column with the texts to write")
    vocabulary: int = Field(
        4000,
        ge=300,
        le=100_000,
        description="tokens of the byte-level vocabulary that both sides share; fewer where the "
        "rows do not have so many",
    )
    source_tokens: int = Field(
        128,
        ge=4,
        le=8192,
        description="tokens that a text may have; longer rows are not learnt from",
    )
    target_tokens: int = Field(
        128,
        ge=4,
        le=4096,
        description="tokens that an answer may have; longer rows are not learnt from",
    )
    width: int = Field(192, ge=16, le=4096, description="numbers per token; a multiple of `heads`")
    heads: int = Field(4, ge=1, le=64, description="of each attention")
    inner_width: int | None = Field(
        None, ge=16, le=32_768, description="of the layers between; 4 times `width` by default"
    )
    encoder_layers: int = Field(3, ge=1, le=48, description="layers that read")
    decoder_layers: int = Field(3, ge=1, le=48, description="layers that write")
    copying: bool = Field(
        default=True,
        description="whether tokens of the given text can be written as they are, which names and "
        "numbers need (See et al., 2017)",
    )
    dropout: float = Field(
        0.1,
        ge=0.0,
        lt=1.0,
        description="the share of numbers left out while it learns; 0.3 where there are only some "
        "10,000 rows",
    )
    attention_dropout: float = Field(
        0.0, ge=0.0, lt=1.0, description="the share of what attention finds that is left out"
    )
    token_dropout: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="the share of tokens, read or written so far, that is left out",
    )
    merge_dropout: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="the chance of a token's pieces to stay apart: rows are seen in other cuts "
        "each time, which helps where there are few (BPE-dropout, Provilkov et al., 2020)",
    )
    joined_share: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="the share of rows that have another row's texts after their own, chosen anew "
        "each epoch: for short texts that teach what longer ones are made of (Kondo et al., 2021)",
    )
    label_smoothing: float = Field(
        0.1,
        ge=0.0,
        le=0.5,
        description="the share of certainty spread over all tokens (Szegedy et al., 2016)",
    )
    tokens_per_batch: int = Field(
        2048,
        ge=64,
        le=2**20,
        description="tokens of a step's longer side, fillings included; rows of like lengths make "
        "a step, and `batch_size` is not looked at",
    )
    beams: int = Field(
        4, ge=1, le=16, description="that the version follows when a request does not say"
    )
    length_penalty: float = Field(
        1.0,
        ge=0.0,
        le=4.0,
        description="of the version's answers when a request does not say: larger values favour "
        "longer ones",
    )
    optimiser: Optimiser = Field("adamw", description="how gradients change weights")
    learning_rate: float = Field(1.5e-3, gt=0.0, le=100.0, description="its largest step size")
    schedule: ScheduleName = Field(
        "cosine", description="how the learning rate changes over the steps"
    )
    warm_up: float = Field(
        0.05, ge=0.0, le=0.9, description="the share of all steps over which it rises at first"
    )
    weight_decay: float = Field(
        0.01, ge=0.0, le=10.0, description="how strongly weights are drawn to 0"
    )
    clip_gradient: float | None = Field(
        1.0, gt=0.0, le=1e6, description="the largest norm of a step's gradient"
    )


class Seq2Seq:
    """Implements `Recipe`."""

    name: ClassVar[str] = "seq2seq"
    summary: ClassVar[str] = (
        "An encoder-decoder transformer with a vocabulary of its own learns to write texts for "
        "texts: translations, summaries."
    )
    tasks: ClassVar[tuple[str, ...]] = ("translation", "summarization")
    parameters: ClassVar[type[Parameters]] = Seq2SeqParameters

    def check(self, data: DataDescription, parameters: Any) -> None:
        """See `Recipe.check`."""
        choose_splits(data, parameters)
        chosen_columns(data, parameters)
        if parameters.width % parameters.heads:
            raise InvalidInput(
                f"'width' is {parameters.width}, which {parameters.heads} 'heads' cannot share "
                "evenly; choose a multiple.",
                param="width",
            )

    def train(self, data: TrainingData, parameters: Any, run: Run) -> Trained:
        """See `Recipe.train`."""
        from modelry.training.recipes.seq2seq.training import train

        return train(data, parameters, run)


def chosen_columns(data: DataDescription, parameters: Seq2SeqParameters) -> tuple[Column, Column]:
    """The columns of given texts and of texts to write.

    Raises:
        InvalidInput: there are none such, or both are the same.
    """
    texts = (ColumnType.TEXT,)
    source = choose_column(
        data, ColumnRole.SOURCE, texts, parameters.source_column, "source_column"
    )
    target = choose_column(
        data, ColumnRole.TARGET, texts, parameters.target_column, "target_column"
    )
    if source.name == target.name:
        raise InvalidInput(
            f"'source_column' and 'target_column' are both '{source.name[:80]}'; there is nothing "
            "to learn.",
            param="target_column",
        )
    return source, target
