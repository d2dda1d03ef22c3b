"""Tasks by name: every module of `tasks/installed` is one."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType

from modelry.domain.errors import NotSupported
from modelry.tasks import installed
from modelry.tasks.contract import Task


@cache
def tasks() -> Mapping[str, Task]:
    """All tasks by name, sorted."""
    found = [
        import_module(f"{installed.__name__}.{module.name}").TASK
        for module in pkgutil.iter_modules(installed.__path__)
    ]
    return MappingProxyType({task.name: task for task in sorted(found, key=lambda one: one.name)})


def task_called(name: str) -> Task:
    """The task called `name`.

    Raises:
        NotSupported: there is none (a version made by a newer server).
    """
    task = tasks().get(name)
    if task is None:
        raise NotSupported(f"Task '{name[:80]}' is not known; known are: {', '.join(tasks())}.")
    return task
