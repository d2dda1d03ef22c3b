"""No text keeps the recognisers busy: one that grew with the square of it would need hours."""

from __future__ import annotations

import resource
import subprocess
import sys

PIECES = [
    "a", "1", "1 ", "a.", "@", "eyJ", "-----BEGIN PRIVATE KEY-----", "+1", "a:", "http://a:",
    "password: ", "DE89", "a-", "tel ", "0000 ", "'", "(0", "x@a.", "0123 / ", "born ", ":", "sk-",
    "bearer ", "4111 ", "dob 1.1.", "a@b.c", "A1 ", "é", "::", "1.", "password is ", "eyJa.",
]  # fmt: skip
CHARS = 100_000
CPU_LIMIT_S = 60
WORK = f"""
import sys
from collections import Counter
from modelry.services.privacy.redaction import Redactor
for piece in {PIECES!r}:
    Redactor().text((piece * {CHARS})[:{CHARS}], Counter())
    Redactor().text("x" + (piece * {CHARS})[:{CHARS}] + " .", Counter())
"""


def test_hostile_texts_end_within_the_processor_time_that_they_get() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))

    done = subprocess.run(
        [sys.executable, "-c", WORK], preexec_fn=limit, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
