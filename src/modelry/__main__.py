"""`python -m modelry` is the `modelry` command."""

from __future__ import annotations

import gc

_GC_THRESHOLDS = (20_000, 20, 50)
"""Imports leave next to no garbage; looking for it as often as usual would take a fifth of the time
of a short command."""


def main() -> None:
    """Run the command that the arguments tell."""
    gc.set_threshold(*_GC_THRESHOLDS)
    from modelry.cli.main import app

    try:
        app(prog_name="modelry")
    finally:
        gc.freeze()  # what is left goes with the process; looking through it takes a server 0.5 s


if __name__ == "__main__":
    main()
