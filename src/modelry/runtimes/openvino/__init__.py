"""Chat from GGUF files and ONNX models on OpenVINO: the extra `modelry[openvino]`.

Owns: OpenVINO GenAI's continuous batching with its step loop, OpenVINO's compiled models, and what
both must not be trusted with (`gguf_rules`).
Does not own: what all chat engines share (runtimes/chat), inspection of files.
Extend by: nothing to plug in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelry.runtimes.openvino.runtime import OpenVinoRuntime

__all__ = ["OpenVinoRuntime"]


def __getattr__(name: str) -> object:
    # at the first use: the modules here that need no OpenVINO can be read and tested without it
    if name == "OpenVinoRuntime":
        from modelry.runtimes.openvino.runtime import OpenVinoRuntime

        return OpenVinoRuntime
    raise AttributeError(name)
