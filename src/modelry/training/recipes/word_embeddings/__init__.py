"""`word-embeddings`: words that stand among the same words get vectors that lie close.

Owns: what a word is, the vocabulary, skip-gram with negative sampling (by gensim), the form that is
served.
Does not own: text steps (processing/steps/text.py), nearest words and analogies
(metrics/embeddings.py).
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from modelry.domain.datasets import Column, ColumnRole, ColumnType, DataDescription
from modelry.training.contract import Parameters, Run, Trained, TrainingData
from modelry.training.options import SplitParameters
from modelry.training.selection import FromNothing, choose_column, choose_splits


class WordEmbeddingParameters(Parameters):
    """Parameters of `word-embeddings`."""

    train_split: str = Field(
        "train", max_length=64, description="the split whose texts are learnt from"
    )
    analogy_split: str = Field(
        "analogies",
        max_length=64,
        description="a split whose texts are four words each, the first to the second as the third "
        "to the fourth; when there is one, the share that is solved is told",
    )
    text_column: str | None = Field(None, description="the column with the texts")
    dimensions: int = Field(100, ge=2, le=2000, description="numbers in a word's vector")
    epochs: int = Field(5, ge=1, le=1000, description="how often every text is seen")
    window: int = Field(
        5, ge=1, le=100, description="how many words before and after a word are learnt with it"
    )
    negatives: int = Field(
        5, ge=1, le=100, description="words drawn at random for each pair, to be told from it"
    )
    min_count: int = Field(
        5, ge=1, le=1_000_000, description="rarer words get no vector and are passed over"
    )
    max_vocabulary: int = Field(
        200_000, ge=1, le=2_000_000, description="how many words get a vector, the most frequent"
    )
    subsampling: float = Field(
        1e-3,
        ge=0.0,
        le=1.0,
        description="words of a larger share of the text are passed over now and then; 0 for never",
    )
    learning_rate: float = Field(
        0.025, gt=0.0, le=1.0, description="step size at first; it falls linearly to nearly 0"
    )
    lowercase: bool = Field(default=True, description="whether upper and lower case are the same")
    threads: int = Field(
        1,
        ge=1,
        le=64,
        description="for computing; with more than one, runs of the same seed differ a little",
    )
    show: tuple[str, ...] = Field(
        (), max_length=1000, description="words whose nearest ones are kept with the job"
    )
    memory_mb: int = Field(
        2048, ge=1, le=2**20, description="how much memory the texts may take: 4 bytes a word"
    )


class WordEmbeddings(FromNothing):
    """Implements `Recipe`."""

    name: ClassVar[str] = "word-embeddings"
    summary: ClassVar[str] = (
        "Learns a vector for each word from the words around it: skip-gram with negative sampling."
    )
    tasks: ClassVar[tuple[str, ...]] = ("text-embedding",)
    parameters: ClassVar[type[Parameters]] = WordEmbeddingParameters

    def check(self, data: DataDescription, parameters: Any) -> None:
        """See `Recipe.check`."""
        chosen_split(data, parameters)
        chosen_column(data, parameters)

    def train(self, data: TrainingData, parameters: Any, run: Run) -> Trained:
        """See `Recipe.train`."""
        from modelry.training.recipes.word_embeddings.training import train

        return train(data, parameters, run)


def chosen_column(data: DataDescription, parameters: WordEmbeddingParameters) -> Column:
    """The column of texts.

    Raises:
        InvalidInput: there is none, or several and no telling which.
    """
    types = (ColumnType.TEXT,)
    return choose_column(data, ColumnRole.FEATURE, types, parameters.text_column, "text_column")


def chosen_split(data: DataDescription, parameters: WordEmbeddingParameters) -> str:
    """The split that is learnt from.

    Raises:
        InvalidInput: there are no rows to learn from.
    """
    # nothing is held out: a vector says something of the words that it was learnt from only
    options = SplitParameters(train_split=parameters.train_split, validation_share=0.0)
    return choose_splits(data, options).train
