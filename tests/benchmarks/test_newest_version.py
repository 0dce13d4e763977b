from pathlib import Path

import click
import pytest

from benchmarks.newest_version import newest_version


def test_the_newest_version_is_measured(tmp_path: Path) -> None:
    for name in ("9", "10", ".publishing-11"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    assert newest_version(tmp_path) == tmp_path / "10"


def test_without_a_version_it_is_said_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match=f"no version has been pushed to {tmp_path}; run `digits run` first"):
        newest_version(tmp_path)
