"""The suite of task rules, on the installed tasks and on the fake."""

from __future__ import annotations

import pytest

from modelry.services.catalog.ports import TaskRules
from modelry.tasks.rules import InstalledTasks
from modelry.testing.catalog_fakes import FakeTaskRules
from modelry.testing.task_rules import TaskRulesContract


class TestTaskRules(TaskRulesContract):
    @pytest.fixture(params=[InstalledTasks, FakeTaskRules])
    def rules(self, request: pytest.FixtureRequest) -> TaskRules:
        made: TaskRules = request.param()
        return made
