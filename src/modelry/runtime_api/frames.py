"""Length-prefixed binary frames between a gateway and a worker.

A frame is a fixed prefix, a JSON header and a raw body:

    u32 header_bytes | u64 body_bytes | u32 call_id | u32 timeout_ms | u8 kind | u8 flags | u16 0

Everything is little-endian. `call_id` is chosen by the gateway and unique per link while the
call is open. `timeout_ms` is what is left of the call's deadline (0: none). A call gets any
number of EVENT frames and exactly one of RESULT or ERROR. Nothing is pickled.

Headers by kind (JSON objects):

    LOAD      LoadSpec.to_wire()                     -> READY | ERROR (and the worker exits)
    INFER     {"inputs": [tensor…], "outputs": [name…]}   body: the tensors' bytes, in order
                                                     -> RESULT {"outputs": [tensor…]} + body
    PREDICT   {"items": [item…], "options": {…}}     an item's bytes values are
              {"$bytes": [offset, length]} into the body
                                                     -> RESULT {"items": […], "usage": {…},
                                                        "arrays": [tensor…]} + body
    GENERATE  {"chat": {…}} | {"completion": {…}}    -> EVENT {…}* RESULT {}
    EMBED     {"inputs": [text | token ids …]}       -> RESULT {"usage": {…}, "arrays": [tensor]}
    EXPLAIN   {"items": [item], "options": {…}, "wish": {…}, "is_own": whether the version's owner
              asks, "others_are_asked": whether other versions are, "cache_salt": str, "tells":
              whether it shall tell how far it is}   an item as in PREDICT, or {"messages": […]} of
              a chat; its salt as in `ChatRequest`
                                                     -> EVENT {"phase": str, "calls": int,
                                                        "most_calls": int | null}*
              {"inputs": [tensor…], "baseline": …, "output": "", "wish": {…},
              "others_are_asked": …}   as in INFER
                                                     -> RESULT {"explanation": {…},
                                                        "usage": {…}} + the picture
                                                     -> RESULT {"explanations": […], "usage": {…},
                                                        "outputs": [tensor…]} + body
    CANCEL    {}   stops the call of the same call_id; it still ends with RESULT or ERROR
    PING      {}                                     -> PONG {"busy_s": seconds of the oldest
                                                        running engine call, 0 when idle}
    DRAIN     {}   no new calls; when the open ones have ended: DRAINED, and the worker exits

where tensor = {"name": str, "datatype": str, "shape": [int…], "size": bytes in the body} and
ERROR = {"code": str, "message": str, "param": str | null, "retry_after_s": number | null}.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import orjson

from modelry.domain.errors import InvalidInput, ModelryError, error_from_code

PREFIX = struct.Struct("<IQIIBBH")
MAX_HEADER_BYTES = 64 * 2**20
MAX_BODY_BYTES = 2 * 2**30


class Kind(IntEnum):
    """What a frame is; below 64 from gateway to worker, from 64 on the other way."""

    LOAD = 1
    INFER = 2
    PREDICT = 3
    GENERATE = 4
    EMBED = 5
    CANCEL = 6
    PING = 7
    DRAIN = 8
    EXPLAIN = 9
    READY = 64
    RESULT = 65
    EVENT = 66
    ERROR = 67
    PONG = 68
    DRAINED = 69


@dataclass(slots=True)
class Frame:
    """One frame as it was received; `header` is still JSON, `body` raw."""

    kind: int
    call_id: int
    timeout_ms: int
    header: bytes
    body: bytes

    def json(self) -> dict[str, Any]:
        """The header as a dict."""
        value: dict[str, Any] = orjson.loads(self.header)
        return value


class FrameError(Exception):
    """The peer sent bytes that are not a frame; the link cannot go on."""


def encode_header(asked: Mapping[str, Any]) -> bytes:
    """A header that holds what a caller sent.

    Raises:
        InvalidInput: it is nested deeper than can be sent on; JSON that is read may be.
    """
    try:
        return orjson.dumps(asked)
    except orjson.JSONEncodeError as error:
        if "ecursion" not in str(error):
            raise
        raise InvalidInput(
            "The request is nested deeper than 250 levels; send it flatter."
        ) from None


def encode_prefix(
    kind: int, call_id: int, header_bytes: int, body_bytes: int, timeout_ms: int = 0
) -> bytes:
    """The fixed prefix alone, for writers that send header and body without copying."""
    return PREFIX.pack(header_bytes, body_bytes, call_id, timeout_ms, kind, 0, 0)


def encode(
    kind: int, call_id: int, header: bytes = b"{}", body: bytes = b"", timeout_ms: int = 0
) -> bytes:
    """One whole frame as bytes."""
    return encode_prefix(kind, call_id, len(header), len(body), timeout_ms) + header + body


def encode_error(call_id: int, error: ModelryError) -> bytes:
    """An ERROR frame that tells `error`."""
    return encode(Kind.ERROR, call_id, orjson.dumps(error_to_wire(error)))


def error_to_wire(error: ModelryError) -> dict[str, Any]:
    """`error` as JSON types."""
    return {
        "code": error.code,
        "message": error.message,
        "param": error.param,
        "retry_after_s": error.retry_after_s,
    }


def error_from_wire(header: dict[str, Any]) -> ModelryError:
    """The error that an ERROR frame's header tells."""
    return error_from_code(
        str(header.get("code")),
        str(header.get("message")),
        param=header.get("param"),
        retry_after_s=header.get("retry_after_s"),
    )


def split_frames(data: bytes | memoryview) -> tuple[list[Frame], int, int]:
    """The whole frames at the start of `data`, their length, and bytes that the next one needs.

    Raises:
        FrameError: lengths beyond the limits.
    """
    frames: list[Frame] = []
    position, end = 0, len(data)
    prefix_size, unpack = PREFIX.size, PREFIX.unpack_from
    while end - position >= prefix_size:
        header_bytes, body_bytes, call_id, timeout_ms, kind, _, _ = unpack(data, position)
        if header_bytes > MAX_HEADER_BYTES or body_bytes > MAX_BODY_BYTES:
            raise FrameError(f"frame of {header_bytes}+{body_bytes} bytes is beyond the limit")
        header_at = position + prefix_size
        body_at = header_at + header_bytes
        frame_end = body_at + body_bytes
        if frame_end > end:
            return frames, position, frame_end - position
        header, body = bytes(data[header_at:body_at]), bytes(data[body_at:frame_end])
        frames.append(Frame(kind, call_id, timeout_ms, header, body))
        position = frame_end
    return frames, position, prefix_size


class FrameDecoder:
    """Turns a byte stream into frames; feed it what the socket gave, in order."""

    __slots__ = ("_kept", "_needed")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._needed = PREFIX.size

    @property
    def needed_bytes(self) -> int:
        """How long the frame that is arriving is, as far as is known."""
        return self._needed

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes.

        Raises:
            FrameError: lengths beyond the limits.
        """
        kept = self._kept
        if not kept:
            frames, used, self._needed = split_frames(data)
            if used < len(data):
                kept += data[used:]
            return frames
        kept += data
        if len(kept) < self._needed:
            return []
        with memoryview(kept) as view:  # large bodies are copied once
            frames, used, self._needed = split_frames(view)
        self._kept = kept[used:]
        return frames
