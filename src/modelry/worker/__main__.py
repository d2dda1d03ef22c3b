"""`python -m modelry.worker --fd N`."""

from __future__ import annotations

import argparse
import os


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m modelry.worker", description=main.__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the socket to the gateway")
    arguments = parser.parse_args()
    # before numpy is imported: processing steps run in threads of their own, and cores are shared
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from modelry.worker.process import run

    run(arguments.fd)


if __name__ == "__main__":
    main()
