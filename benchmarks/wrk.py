"""Load by wrk (Debian package `wrk`)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3}


@dataclass(frozen=True)
class Load:
    """What wrk saw: requests/s, latencies in milliseconds, and failed requests."""

    rate: float
    p50_ms: float
    p99_ms: float
    failed: int


def require() -> str:
    """Path of wrk, or an end with advice."""
    found = shutil.which("wrk")
    if found is None:
        sys.exit("This benchmark needs wrk: apt-get install wrk")
    return found


def run(url: str, body: bytes, headers: dict[str, str], connections: int, seconds: int) -> Load:
    """POST `body` to `url` over `connections` keep-alive connections for `seconds`."""
    with tempfile.TemporaryDirectory() as folder:
        body_file = Path(folder) / "body"
        body_file.write_bytes(body)
        lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
        script = Path(folder) / "post.lua"
        script.write_text(
            f'wrk.method = "POST"\nlocal f = io.open("{body_file}", "rb")\n'
            'wrk.body = f:read("*all")\nf:close()\n' + "\n".join(lines)
        )
        command = [require(), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s",
                   "--latency", "-s", str(script), url]  # fmt: skip
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return parse(out)


def parse(out: str) -> Load:
    """Read wrk's report."""
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])  # type: ignore[index]

    def latency(percent: str) -> float:
        value, unit = re.search(rf"\s{percent}%\s+([\d.]+)(us|ms|s|m)", out).groups()  # type: ignore[union-attr]
        return float(value) * _UNITS[unit]

    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    failed = int(bad[1]) if bad else 0
    failed += sum(map(int, errors.groups())) if errors else 0
    return Load(rate, latency("50"), latency("99"), failed)
