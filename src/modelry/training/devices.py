"""What a run computes on: chosen once, tried before it is relied on, told in the log."""

from __future__ import annotations

from typing import Literal

import torch

from modelry.domain.errors import NotSupported
from modelry.sandbox.gpus import present

Wanted = Literal["auto", "cpu", "cuda"]
CPU = torch.device("cpu")


def chosen_device(wanted: Wanted) -> torch.device:
    """Where a run computes.

    Args:
        wanted: of its parameters; `auto` takes a GPU that torch can use.

    Raises:
        NotSupported: a GPU is asked for and there is none; or there is one, and it does not
            compute, which `auto` does not pass over: a run would take a hundred times as long, and
            say nothing.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return CPU
    if not torch.cuda.is_available():
        raise NotSupported(
            f"'device' is 'cuda', but this machine has no GPU that torch can use{_why()}; choose "
            "'auto' or 'cpu'.",
            param="device",
        )
    device = torch.device("cuda")
    try:
        torch.ones(1, device=device).add(1).item()
    except RuntimeError as error:
        if "out of memory" in str(error):  # it computes, for somebody else just now
            raise
        raise NotSupported(
            f"torch {torch.__version__} finds a GPU here that does not compute "
            f"({_first_line(error)}). See that driver and build of torch fit the card, or choose "
            "'cpu' for 'device'.",
            param="device",
        ) from None
    return device


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether it is a GPU that has bfloat16 of its own: where it is imitated it is slower."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def told(device: torch.device, wanted: Wanted, *, in_bfloat16: bool = False) -> str:
    """A line for the log: which GPU a run computes on, or why on none where there is one."""
    if device.type == "cuda":
        numbers = ", in bfloat16 where that is exact enough" if in_bfloat16 else ""
        return f"computing on {torch.cuda.get_device_name(device)}{numbers}"
    if wanted != "cpu" and present().count:
        return f"computing on the CPU: this machine has a GPU that torch cannot use{_why()}"
    return ""


def _why() -> str:
    """In brackets; empty where torch has nothing to say."""
    if torch.version.cuda is None:
        return " (its torch is built for CPUs alone)"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        return f" ({_first_line(error)})"
    return ""


def _first_line(error: RuntimeError) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
