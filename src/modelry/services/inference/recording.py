"""How somebody gets to see whole calls, where the owner of a deployment chose so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from modelry.services.inference.call import Call


class CallRecord(Protocol):
    """Takes what happens to one call. Runs on the event loop; must not block or raise."""

    def event(self, event: Mapping[str, Any]) -> None:
        """A part of a streamed answer came."""
        ...

    def ended(self, call: Call, status: str, header: bytes, body: bytes) -> None:
        """The call is over; `header` and `body` are its answer, empty when it failed."""
        ...


class CallRecorder(Protocol):
    """Chooses the calls of one deployment that are recorded."""

    def begin(self, call: Call) -> CallRecord | None:
        """A call was admitted; None when it is not recorded."""
        ...
