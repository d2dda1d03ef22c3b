"""ONNX models on ONNX Runtime, on the CPU.

Owns: sessions and their options, conversion of string and BF16 tensors, stopping a run.
Does not own: inspection of ONNX files before they are loaded (manifest/inspect), batching.
Extend by: nothing to plug in; other execution providers would be options of `session.py`.
"""

from modelry.runtimes.onnx.runtime import OnnxRuntime

__all__ = ["OnnxRuntime"]
