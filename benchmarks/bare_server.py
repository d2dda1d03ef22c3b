"""`modelry up` without authorisation, limits and metering on its hot path; see `overhead`."""

from __future__ import annotations

import runpy
import sys

from benchmarks.hot_path import BareGroup, Trusting, UncheckedRoute
from modelry.protocols.oip.hot import InferRoute
from modelry.services.inference.authentication import Authenticator
from modelry.services.inference.replica_group import ReplicaGroup

_WITHOUT: tuple[tuple[type, type, tuple[str, ...]], ...] = (
    (Authenticator, Trusting, ("still_holds",)),
    (InferRoute, UncheckedRoute, ("_check",)),
    (ReplicaGroup, BareGroup, ("submit", "record")),
)

if __name__ == "__main__":
    for product, bare, names in _WITHOUT:
        for name in names:
            setattr(product, name, getattr(bare, name))
    sys.argv = ["modelry", "up"]
    runpy.run_module("modelry", run_name="__main__")
