"""`python -P -m modelry.worker --fd N`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from modelry.domain.sandbox import SandboxLevel, SandboxReport

if TYPE_CHECKING:
    from modelry.worker.start import Start


def main() -> None:
    """Read the arguments, shut this process in, and serve."""
    parser = argparse.ArgumentParser(prog="python -P -m modelry.worker", description=main.__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the socket to the gateway")
    parser.add_argument("--scratch", type=Path, help="the folder that may be written to")
    parser.add_argument("--read", type=Path, action="append", default=[], help="may be read too")
    parser.add_argument("--hide", type=Path, action="append", default=[], help="never readable")
    parser.add_argument(
        "--require",
        type=SandboxLevel,
        choices=list(SandboxLevel),
        default=SandboxLevel.NONE,
        help="load nothing below this level of the sandbox",
    )
    arguments = parser.parse_args()
    # before numpy is imported: its threads would stay outside of the sandbox; and processing steps
    # run in threads of their own, and cores are shared
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # onnxruntime would report to its makers
    from modelry.worker.start import await_load

    start = await_load(arguments.fd)
    if start is None:
        return
    report = start.shut_in(arguments.scratch, arguments.read, arguments.hide)
    if not start.may_load(report, arguments.require, arguments.hide):
        return
    _serve(start, report)


def _serve(start: Start, report: SandboxReport) -> None:
    # imported in the sandbox: engines and plug-ins come with it
    from modelry.worker.process import run

    run(start.connection, start.frame, report)


if __name__ == "__main__":
    main()
