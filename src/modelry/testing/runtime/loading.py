# ruff: noqa: D102 - the names of the tests say what they check
"""What a runtime must do when it loads, fails to load, and lets go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from modelry.domain.errors import InvalidInput, ModelFailed, NotSupported
from modelry.manifest.document import MAIN_ROLE
from modelry.runtime_api.engine import Engine, LoadSpec, Runtime
from modelry.testing.runtime.given import Given

MAX_REASON_CHARS = 4000


class LoadingContract(Given):
    """Loading.

    `damaged_files` are contents of the main file that must be refused, by what is wrong with
    them; the key `half` stands for the first half of the good file. A runtime that takes every
    content gives none.
    """

    damaged_files: ClassVar[Mapping[str, bytes | None]] = {
        "nothing": b"",
        "text": b"this is no model",
        "zeros": bytes(4096),
        "half": None,
    }

    def test_a_runtime_says_what_it_is(self, runtime: Runtime) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", runtime.name)
        assert runtime.formats
        assert all(re.fullmatch(r"[a-z][a-z0-9-]{0,63}", name) for name in runtime.formats)

    def test_closing_twice_is_fine(self, runtime: Runtime, spec: LoadSpec) -> None:
        engine = runtime.load(spec)
        assert isinstance(engine, Engine)
        engine.close()
        engine.close()

    def test_what_was_closed_loads_again(self, runtime: Runtime, spec: LoadSpec) -> None:
        for _ in range(2):
            engine = runtime.load(spec)
            try:
                assert engine.capacity >= 1
            finally:
                engine.close()

    def test_damaged_files_are_refused_with_a_reason(
        self, runtime: Runtime, spec: LoadSpec, tmp_path: Path
    ) -> None:
        good = spec.files[MAIN_ROLE]
        for what, content in self.damaged_files.items():
            path = tmp_path / f"{what}{good.suffix}"
            path.write_bytes(_half(good) if content is None else content)
            with pytest.raises(ModelFailed) as told:
                runtime.load(replace(spec, files={**spec.files, MAIN_ROLE: path})).close()
            _check_reason(told.value.message, tmp_path)

    def test_a_missing_file_is_told(self, runtime: Runtime, spec: LoadSpec, tmp_path: Path) -> None:
        files = {**spec.files, MAIN_ROLE: tmp_path / "gone"}
        with pytest.raises((ModelFailed, NotSupported)) as told:
            runtime.load(replace(spec, files=files)).close()
        _check_reason(told.value.message, tmp_path)

    def test_unknown_options_are_refused(self, runtime: Runtime, spec: LoadSpec) -> None:
        options = {**spec.options, "no_such_option": 1}
        with pytest.raises(InvalidInput, match="no_such_option"):
            runtime.load(replace(spec, options=options)).close()


def _half(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(path.stat().st_size // 2)


def _check_reason(message: str, folder: Path) -> None:
    assert 10 < len(message) <= MAX_REASON_CHARS
    assert str(folder) not in message, "messages never tell paths of the server"
    assert "Traceback" not in message
