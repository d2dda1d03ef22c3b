"""Translation: a text goes in, the same in another language comes out."""

from __future__ import annotations

from modelry.tasks.text_writing import task_of

TASK = task_of("translation", "Writes a text in another language, or another writing system.")
