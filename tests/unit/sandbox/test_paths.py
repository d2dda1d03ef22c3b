"""What workers may read."""

import sys
from pathlib import Path

import pytest

from modelry.sandbox import paths
from modelry.settings import Settings


@pytest.fixture
def on_path(monkeypatch, tmp_path: Path) -> Path:
    """A folder of plug-ins on Python's path."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    return folder


def test_code_is_the_interpreter_and_what_can_be_imported(on_path):
    found = paths.code()
    assert {Path(sys.prefix), Path(sys.base_prefix), on_path} <= set(found)
    assert not {Path("/"), Path("/root"), Path("/home"), Path("/usr"), Path("/etc")} & set(found)
    assert all(path.is_absolute() for path in found)


def test_a_folder_that_holds_the_data_is_left_out_and_told(on_path):
    data = on_path / "data"
    assert on_path not in paths.code(hidden=[data])
    assert paths.exposing([data]) == [on_path]


def test_code_below_the_data_stays_readable(on_path):
    assert on_path in paths.code(hidden=[on_path.parent])
    assert paths.exposing([on_path.parent]) == []


def test_a_link_hides_nothing(on_path, tmp_path):
    elsewhere = tmp_path / "link"
    elsewhere.symlink_to(on_path / "data")
    (on_path / "data").mkdir()
    assert paths.exposing([elsewhere]) == [on_path]


def test_what_the_operator_adds_is_readable(tmp_path):
    setting = Settings(sandbox_read=f"{tmp_path}:/opt/vendor")
    assert setting.sandbox.readable == (tmp_path, Path("/opt/vendor"))
    assert tmp_path in paths.code(setting.sandbox.readable)
    for wrong in ("relative", "/", "/opt:relative"):
        with pytest.raises(ValueError, match="absolute paths"):
            Settings(sandbox_read=wrong)
