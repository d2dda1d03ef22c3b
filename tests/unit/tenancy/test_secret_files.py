"""The pepper's file."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelry.adapters.secrets.files import load_or_make_secret
from modelry.domain.errors import Conflict


def test_a_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "pepper"
    made = load_or_make_secret(path)
    assert len(made) == 32
    assert load_or_make_secret(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["pepper"]
    assert load_or_make_secret(tmp_path / "another") != made


def test_all_who_begin_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(load_or_make_secret, [tmp_path / "pepper"] * 16))
    assert len(found) == 1


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pepper"
    load_or_make_secret(path)
    path.chmod(0o644)
    with pytest.raises(Conflict, match="0600") as told:
        load_or_make_secret(path)
    assert str(tmp_path) not in told.value.message


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_damaged_secret_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "pepper"
    path.write_bytes(b"x" * size)
    path.chmod(0o600)
    with pytest.raises(Conflict, match="damaged"):
        load_or_make_secret(path)
