"""Parameters that recipes share; importable without a framework."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modelry.training.contract import Parameters

Optimiser = Literal["adam", "adamw", "sgd"]
ScheduleName = Literal["constant", "cosine", "one-cycle"]
Keep = Literal["best", "last"]


class SplitParameters(Parameters):
    """Which rows are learnt from, and which are only measured on."""

    train_split: str = Field(
        "train", max_length=64, description="the split whose rows are learnt from"
    )
    validation_split: str = Field(
        "validation",
        max_length=64,
        description="the split that is measured on after every epoch; when the dataset has none of "
        "that name, a share of the training rows is held out",
    )
    validation_share: float = Field(
        0.1,
        ge=0.0,
        le=0.5,
        description="the share held out by the seed, where there is no validation split; 0 for "
        "none",
    )


class LoopParameters(SplitParameters):
    """How gradient descent goes."""

    epochs: int = Field(10, ge=1, le=100_000, description="how often every row is seen")
    batch_size: int = Field(32, ge=1, le=65_536, description="rows per step")
    optimiser: Optimiser = Field("adam", description="how gradients change weights")
    learning_rate: float = Field(1e-3, gt=0.0, le=100.0, description="its largest step size")
    weight_decay: float = Field(
        0.0,
        ge=0.0,
        le=10.0,
        description="how strongly weights are drawn to 0 (adamw: decoupled from the gradient)",
    )
    momentum: float = Field(0.9, ge=0.0, lt=1.0, description="of sgd (Nesterov); 0 for none")
    schedule: ScheduleName = Field(
        "constant", description="how the learning rate changes over the steps"
    )
    warm_up: float = Field(
        0.0, ge=0.0, le=0.9, description="the share of all steps over which it rises at first"
    )
    clip_gradient: float | None = Field(
        None, gt=0.0, le=1e6, description="the largest norm of a step's gradient; none by default"
    )
    early_stopping: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="end after so many epochs without a better validation result",
    )
    keep: Keep = Field(
        "best",
        description="which epoch's weights are kept: the one with the best validation result, or "
        "the last one (also when nothing is held out)",
    )
    deterministic: bool = Field(
        default=True,
        description="same seed, same data, same machine: same weights to the bit; on a GPU slower",
    )
    mixed_precision: bool = Field(
        default=True,
        description="bfloat16 where a GPU can; a CPU computes in float32 without `cpu_bfloat16`",
    )
    cpu_bfloat16: bool = Field(
        default=False,
        description="bfloat16 on a CPU, too: convolutions are faster where it has AMX, and slower "
        "where it has no bfloat16 of its own",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where it computes; auto takes a GPU when there is one"
    )
    checkpoint_every_s: float = Field(
        60.0,
        ge=0.0,
        le=86_400.0,
        description="seconds between checkpoints; what is lost when the job is killed",
    )
