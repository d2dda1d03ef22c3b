"""W3C trace context (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import os
import re

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def continue_trace(traceparent: bytes | None) -> str:
    """A `traceparent` for our own span: in the caller's trace if it sent a valid one."""
    match = _TRACEPARENT.fullmatch(traceparent or b"")
    span_id = os.urandom(8).hex()
    if match is None or match[1] == b"ff" or set(match[2]) == {48} or set(match[3]) == {48}:
        return f"00-{os.urandom(16).hex()}-{span_id}-01"
    return f"00-{match[2].decode()}-{span_id}-{match[4].decode()}"
