from dataclasses import replace
from pathlib import Path

import click
import pytest

from benchmarks.normalization import PIXELS_ROW, RE_RENDERED_ROW, SERVING_ROW, Cost, missed_targets, newest_version

ACCURACIES = {PIXELS_ROW: 0.995, SERVING_ROW: 0.994, RE_RENDERED_ROW: 0.99}
COST = Cost(pixels=0.2, added=0.9, decoding=0.6)


def test_targets_that_are_met() -> None:
    assert list(missed_targets(ACCURACIES, {"28x28": COST})) == []


def test_each_target_is_missed_for_itself() -> None:
    (failure,) = missed_targets({**ACCURACIES, RE_RENDERED_ROW: 0.984}, {"28x28": COST})
    assert failure == "accuracy on re-rendered images is 98.40%, at least 98.5% is wanted."
    (failure,) = missed_targets(ACCURACIES, {"28x28": COST, "JPEG": replace(COST, added=1.04)})
    assert failure == "JPEG: the normalization adds 1.04 ms per image, at most 1.0 is wanted."


def test_the_newest_version_is_measured(tmp_path: Path) -> None:
    for name in ("9", "10", "tmp-11"):
        (tmp_path / name).mkdir()
    assert newest_version(tmp_path) == tmp_path / "10"
    with pytest.raises(click.UsageError, match=r"no pushed version in .*nothing; push one with `digits run`"):
        newest_version(tmp_path / "nothing")
