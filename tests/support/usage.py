"""Notes of requests, as the data plane makes them."""

from __future__ import annotations

import time
from typing import Any

from modelry.domain.usage import Origin
from modelry.services.inference.metering import Meter
from modelry.services.inference.request_ids import new_request_id

PETS = Origin(
    "default", "pets", "animals", 3, "image-classification", "sha256:v", "sha256:g", {"threads": 2}
)


def note(meter: Meter, **changes: Any) -> None:
    """Note a request that ended now."""
    now = time.monotonic()
    value = {
        "origin": PETS, "tenant_id": "default", "key_id": "k1", "status": "ok", "replica": "r1",
        "parameters": b"", "started": now - 0.25, "ended": now,
        "request_id": new_request_id().decode(), "units": {"images": 2}, "engine_us": 70,
    } | changes  # fmt: skip
    key = tuple(
        value[name] for name in ("origin", "tenant_id", "key_id", "status", "replica", "parameters")
    )
    used = (value["units"], value["engine_us"])
    meter.note(key, value["started"], value["ended"], value["request_id"].encode(), used)  # type: ignore[arg-type]
