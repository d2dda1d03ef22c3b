"""A task is one module: dropped among the others, everything knows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelry.manifest.document import from_mapping
from modelry.tasks import installed
from modelry.tasks.registry import tasks
from modelry.tasks.rules import InstalledTasks
from modelry.testing.task_rules import TENSORS

MODULE = """
from modelry.tasks.contract import Recognition, Task

TASK = Task(
    name="aura-reading",
    summary="Reads auras.",
    formats=frozenset({"onnx"}),
    recognise=lambda facts: Recognition("aura-reading", 1.0, ("it has an aura",)),
)
"""


@pytest.fixture
def _aura_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "aura_reading.py").write_text(MODULE)
    monkeypatch.setattr(installed, "__path__", [*installed.__path__, str(tmp_path)])
    tasks.cache_clear()
    yield
    tasks.cache_clear()


@pytest.mark.usefixtures("_aura_reading")
def test_a_module_is_all_that_a_task_takes() -> None:
    rules = InstalledTasks()
    assert list(rules.names()) == sorted(rules.names())
    assert rules.names()[0] == "aura-reading"
    assert rules.recognise(TENSORS)[0].task == "aura-reading"
    document = from_mapping({"name": "x", "task": "aura-reading", "files": {"model": "m"}})
    rules.check(document, TENSORS, rules.steps(document, TENSORS))
