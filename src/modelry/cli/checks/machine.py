"""Disk, memory, ports, GPUs and what the kernel offers."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from modelry.adapters.processes.sandbox_probe import probe_sandbox
from modelry.cli.checks.finding import Finding, bad, good, note
from modelry.cli.checks.software import installed
from modelry.cli.output import size_text
from modelry.domain.sandbox import Measure, SandboxLevel, SandboxReport
from modelry.sandbox.gpus import Gpus, present

SPARE_BYTES = 2 * 10**9
LITTLE_BYTES = 300 * 10**6


def machine(
    data: Path, host: str, ports: dict[str, int], required: SandboxLevel
) -> Iterator[Finding]:
    """What this machine offers.

    Args:
        data: the folder that the server keeps its data in.
        host: the address that it would listen on.
        ports: the ports that it would listen on, by setting.
        required: the level of the sandbox that it would demand.
    """
    yield disk_space(data)
    for name, port in ports.items():
        yield port_use(name, host, port)
    yield from gpus(present(), installed("torch"))
    yield from sandbox(probe_sandbox(), required)


def disk_space(data: Path) -> Finding:
    """Whether models have room."""
    place = data
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    shown = f"{size_text(free)} free for {data}"
    if free >= SPARE_BYTES:
        return good("disk", shown)
    advice = "Models need room: free some, or choose another folder with MODELRY_DATA."
    return note("disk", shown, advice) if free >= LITTLE_BYTES else bad("disk", shown, advice)


def port_use(name: str, host: str, port: int) -> Finding:
    """Whether a port is free for `modelry up`."""
    if port == 0:
        return good(name, "a free one is taken")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return note(
                name,
                f"{host}:{port} cannot be taken ({error.strerror})",
                "Fine if that is your running server; another one needs another port "
                f"(MODELRY_{name.upper()}).",
            )
    return good(name, f"{host}:{port} is free")


def gpus(found: Gpus, torch: str | None) -> Iterator[Finding]:
    """Whether training can use the GPUs that there are; nothing where there are none.

    Args:
        found: of this machine.
        torch: the version that is installed; None for none.
    """
    if not found.count:
        return
    shown = f"{found.count} of NVIDIA"
    if torch is None:
        yield note("gpus", f"{shown}, and no torch", "To train on them: pip install modelry[train]")
    elif torch.endswith("+cpu"):
        yield note(
            "gpus",
            f"{shown}; torch {torch} is built for CPUs alone",
            "To train on them install the build of torch for your version of CUDA.",
        )
    else:
        yield good("gpus", f"{shown}; torch {torch}")


def sandbox(report: SandboxReport, required: SandboxLevel) -> Iterator[Finding]:
    """How far workers are shut in on this machine, and what is missing."""
    shown = f"level '{report.level}' ({', '.join(report.in_force) or 'nothing in force'})"
    shortfall = report.shortfall(required)
    if shortfall is not None:
        yield bad(
            "sandbox",
            shown,
            f"MODELRY_REQUIRE_SANDBOX={required} refuses every model here; lacking: {shortfall}.",
        )
    elif report.level is SandboxLevel.STRICT:
        yield good("sandbox", shown)
    else:
        yield note("sandbox", shown, f"Lacking for 'strict': {_strict_shortfall(report)}.")
    for measure in (Measure.MEMORY_GROUP, Measure.USER, Measure.THREADS):
        if measure in report.lacking:
            yield note(f"sandbox {measure}", report.lacking[measure])


def _strict_shortfall(report: SandboxReport) -> str:
    return report.shortfall(SandboxLevel.STRICT) or "nothing"
