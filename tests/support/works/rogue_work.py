"""Work that misbehaves as asked; installed by `install_works`."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from modelry.runtime_api.work import WorkHost


class RogueWork:
    name: ClassVar[str] = "rogue"

    def run(self, host: WorkHost) -> Any:
        return getattr(self, host.request["do"])(host)

    def crash(self, host):
        ctypes.string_at(0)

    def leave(self, host):
        sys.stderr.write("/srv/secret/place/file.py says goodbye\n")
        os._exit(3)

    def fail(self, host):
        raise KeyError("surprise")

    def allocate(self, host):
        kept = []
        while True:
            kept.append(bytearray(16 * 2**20))
            for page in range(0, len(kept[-1]), 4096):
                kept[-1][page] = 1

    def allocate_at_once(self, host):
        return {"size": len(bytearray(64 * 2**30))}

    def ignore_stop(self, host):
        host.log("waiting")
        while True:
            time.sleep(1)

    def hold_the_lock(self, host):
        # calls in native code that keep the interpreter to themselves
        ctypes.PyDLL(None).usleep(20_000_000)

    def fill_scratch(self, host):
        written = 0
        with (host.scratch / "big").open("wb", buffering=0) as file:
            try:
                while written < 2**30:
                    written += file.write(bytes(2**20))
            except OSError as error:
                return {"errno": error.errno, "mib": written >> 20}
        return {"mib": written >> 20}

    def overfill(self, host):
        """As a library does that writes more than there is room for."""
        how = host.request["how"]
        try:
            with (host.scratch / "big").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(2**20))
        except OSError as error:
            if how == "raise":
                raise
            if how == "wrap":
                (host.scratch / "big").unlink()
                raise ValueError("the file cannot be written") from error
        raise RuntimeError("[enforce fail at inline_container.cc:603] unexpected pos 8388608")

    def garbage(self, host):
        link = host._link._socket
        link.sendall(os.urandom(4096))
        time.sleep(20)

    def huge_frame(self, host):
        from modelry.runtime_api.frames import PREFIX

        host._link._socket.sendall(PREFIX.pack(2, 2**31 - 1, 1, 0, 70, 0, 0))
        time.sleep(20)

    def wrong_frame(self, host):
        host._link.tell(host.request["kind"], host.request["header"])
        time.sleep(20)

    def change_after(self, host):
        """Whether a file that was handed over can still be changed by who wrote it."""
        link = host._link
        from modelry.runtime_api.work_frames import WorkKind

        call_id, place = link.call(WorkKind.PUT, {"name": "changing"})
        os.write(place.file, b"first")
        link.call(WorkKind.WRITTEN, {"about": {}}, call_id=call_id)
        try:
            os.pwrite(place.file, b"other", 0)
        except OSError as error:
            return {"errno": error.errno}
        return {}

    def send_files(self, host):
        """Descriptors that nobody asked for."""
        link = host._link
        from modelry.runtime_api.frames import encode
        from modelry.runtime_api.work_frames import WorkKind

        null = os.open("/dev/null", os.O_RDONLY)
        for _ in range(100):
            with link._sending:
                socket.send_fds(link._socket, [encode(WorkKind.ALIVE, 0)], [null] * 10)
        return {}

    def keep_open(self, host):
        """An input that is never closed."""
        from modelry.runtime_api.work_frames import WorkKind

        host._link.call(WorkKind.OPEN, {"name": host.request["name"]})
        return {}

    def limits(self, host):
        status = Path("/proc/self/status").read_text()
        session = Path("/proc/self/autogroup")
        return {
            "nice": os.nice(0),
            "policy": os.sched_getscheduler(0),
            "session": session.read_text().split()[-1:] if session.exists() else [],
            "oom": int(Path("/proc/self/oom_score_adj").read_text()),
            "seccomp": "Seccomp:\t2" in status,
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "waiting": os.environ.get("OMP_WAIT_POLICY"),
            "environment": sorted(os.environ),
        }

    def attack(self, host):
        """What the sandbox must refuse, by name, with what came of it."""
        tries = {
            "network": lambda: socket.create_connection(("127.0.0.1", host.request["port"]), 2),
            "read": lambda: Path(host.request["secret"]).read_bytes(),
            "write": lambda: Path(host.request["secret"]).with_name("new").write_text("x"),
            "program": lambda: os.execv("/bin/sh", ["sh", "-c", "exit 0"]),
            "fork": os.fork,
            "signal": lambda: os.kill(host.request["parent"], 0),
            "memory_file": lambda: os.memfd_create("x"),
        }
        told = {}
        for name, attempt in tries.items():
            try:
                attempt()
            except OSError as error:
                told[name] = type(error).__name__
            else:
                told[name] = "done"
        return told

    def train(self, host):
        """One step of gradient descent, and Parquet: what training needs of the walls."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq
        import torch

        path = host.scratch / "rows.parquet"
        pq.write_table(pa.table({"x": list(range(100)), "s": ["ä"] * 100}), path)
        with host.open("rows") as given:
            total = pc.sum(pq.read_table(given)["x"]).as_py()
        rows = pq.ParquetFile(path).metadata.num_rows
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2)
        )
        optimiser = torch.optim.Adam(model.parameters(), 0.05)
        x, y = torch.randn(64, 1, 8, 8), torch.randint(0, 2, (64,))
        losses = []
        for _ in range(5):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        torch.save(model.state_dict(), host.scratch / "weights.pt")
        return {"losses": losses, "rows": rows, "total": total, "threads": torch.get_num_threads()}

    def wait(self, host):
        host.log("waiting")
        threading.Event().wait(60)

    def suspend(self, host):
        os.kill(os.getpid(), signal.SIGSTOP)
