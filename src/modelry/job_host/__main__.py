"""`python -P -m modelry.job_host --fd N`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from modelry.domain.sandbox import SandboxLevel


def main() -> None:
    """Read the arguments, shut this process in, and do the work."""
    parser = argparse.ArgumentParser(prog="python -P -m modelry.job_host", description=main.__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the socket to the server")
    parser.add_argument("--scratch", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--read", type=Path, action="append", default=[], help="may be read too")
    parser.add_argument("--hide", type=Path, action="append", default=[], help="never readable")
    parser.add_argument(
        "--require",
        type=SandboxLevel,
        choices=list(SandboxLevel),
        default=SandboxLevel.NONE,
        help="begin nothing below this level of the sandbox",
    )
    arguments = parser.parse_args()
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # onnxruntime would report to its makers
    # nothing that imports numpy before: its threads would stay outside of the sandbox
    from modelry.job_host.start import await_order

    start = await_order(arguments.fd)
    if start is None:
        return
    report = start.shut_in(arguments.scratch, arguments.read, arguments.hide)
    refused = start.may_begin(report, arguments.require, arguments.hide)
    from modelry.job_host.process import run

    run(start, report, arguments.scratch, refused)


if __name__ == "__main__":
    main()
