"""Summarization: a text goes in, a shorter one that says the same comes out."""

from __future__ import annotations

from modelry.tasks.text_writing import task_of

TASK = task_of("summarization", "Writes a short text that says what a long one says.")
