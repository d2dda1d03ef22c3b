"""The limit: raw onnxruntime in a process of its own, one thread, batch 1, no server at all."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import onnxruntime


def main(path: str, seconds: float) -> None:
    """Print requests/s as JSON."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (tensor,) = session.get_inputs()
    feed = {tensor.name: np.random.default_rng(0).random((1, 1, 28, 28), np.float32)}
    for _ in range(200):
        session.run(None, feed)
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for _ in range(50):
            session.run(None, feed)
        count += 50
    print(json.dumps({"rate": count / elapsed}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
