"""What a runtime's tests give to the suites."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from modelry.runtime_api.engine import LoadSpec, Runtime


class Given:
    """Inherited by all suites: `runtime_class`, and `make_spec` for a small model that loads."""

    runtime_class: ClassVar[type[Runtime]]

    @classmethod
    def make_spec(cls, folder: Path) -> LoadSpec:
        """How to load the model; may write into `folder`, and may skip the suite."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def runtime(cls) -> Runtime:
        """A runtime, made as workers make it."""
        return cls.runtime_class()

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, tmp_path_factory: pytest.TempPathFactory) -> LoadSpec:
        """How to load the model."""
        return cls.make_spec(tmp_path_factory.mktemp("model"))
