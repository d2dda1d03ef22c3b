"""The tiny CNN on mosec (Rust front, Python worker): raw float32 in, raw float32 out.

Settings are mosec's best of those that were tried: one worker, dynamic batching up to 16 with a
1 ms wait, one onnxruntime thread.
"""

import os

import numpy as np
import onnxruntime
from mosec import Server, Worker


class TinyCnn(Worker):
    """Loads the model named by MODEL_PATH."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["MODEL_PATH"], options, providers=["CPUExecutionProvider"]
        )
        self.name = self.session.get_inputs()[0].name

    def deserialize(self, data: bytes) -> np.ndarray:
        """Raw bytes to an image."""
        return np.frombuffer(data, np.float32).reshape(1, 28, 28)

    def serialize(self, data: np.ndarray) -> bytes:
        """Probabilities to raw bytes."""
        return data.tobytes()

    def forward(self, data: list[np.ndarray]) -> list[np.ndarray]:
        """One batch."""
        return list(self.session.run(None, {self.name: np.stack(data)})[0])


if __name__ == "__main__":
    server = Server()
    server.append_worker(TinyCnn, num=1, max_batch_size=16, max_wait_time=1)
    server.run()
