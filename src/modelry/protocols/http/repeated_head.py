"""Recognises a request whose head is that of the one before, but for the length of its body."""

from __future__ import annotations

import re

from modelry.protocols.http.hot_exchange import HotHead

MAX_HEAD_BYTES = 4096
"""Longer heads are not remembered."""
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,9})(?=\r\n)", re.IGNORECASE)
_CHANGES_FRAMING = (b"upgrade", b"transfer-encoding", b"trailer")


class RepeatedHead:
    """The bytes of a head that was parsed once, around the number in its `Content-Length`."""

    __slots__ = ("_after", "_before", "_raw", "_total_bytes", "head")

    def __init__(self, raw: bytes, head: HotHead, length: re.Match[bytes]) -> None:
        self.head = head
        self._raw = raw
        self._total_bytes = len(raw) + int(length[1])
        self._before = raw[: length.start(1)]
        self._after = raw[length.end(1) :]

    def body_of(self, data: bytes) -> bytes | None:
        """The body, if `data` is this head and one whole body; else None."""
        if len(data) == self._total_bytes and data.startswith(self._raw):
            return data[len(self._raw) :]
        if not data.startswith(self._before):
            return None
        start = len(self._before)
        end = data.find(b"\r", start, start + 10)
        if not data.startswith(self._after, end) or not data[start:end].isdigit():
            return None
        head_bytes = end + len(self._after)
        return data[head_bytes:] if len(data) - head_bytes == int(data[start:end]) else None


def learn(data: bytes, head: HotHead, body_bytes: int) -> RepeatedHead | None:
    """What to recognise the next request by, after `data` was one request with `head`.

    None when it cannot be told from its bytes alone where such a request ends.
    """
    head_bytes = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) + 4
    if head_bytes < 4 or any(head.header(name) is not None for name in _CHANGES_FRAMING):
        return None
    raw = data[:head_bytes]
    lengths = list(_LENGTH.finditer(raw))
    if len(lengths) != 1 or not int(lengths[0][1]) == body_bytes == len(data) - head_bytes:
        return None
    return RepeatedHead(raw, head, lengths[0])
