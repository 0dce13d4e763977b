import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

from components.data_gate.baseline_statistics import BaselineStatistics, NoBaseline, find_baseline_statistics


def statistics(num_examples: int) -> DatasetFeatureStatisticsList:
    content = DatasetFeatureStatisticsList()
    content.datasets.add().num_examples = num_examples
    return content


@pytest.mark.parametrize(
    ("pushed", "version"),
    [
        pytest.param({}, NoBaseline.NO_OTHER_DATA, id="nothing pushed"),
        pytest.param({1: 10}, 1, id="other data"),
        pytest.param({1: 5}, NoBaseline.NO_OTHER_DATA, id="this data"),
        pytest.param({1: 5, 2: None}, NoBaseline.NO_OTHER_DATA, id="this data, and a version that does not tell"),
        pytest.param({1: None}, NoBaseline.UNKNOWN_DATA, id="no version tells"),
        pytest.param({1: 10, 2: 11}, 2, id="the newest"),
        pytest.param({9: 10, 10: 11}, 10, id="by number, not by name"),
        pytest.param({1: 10, 2: 5, 3: 5}, 1, id="this data, pushed since"),
        pytest.param({1: 10, 2: 5, 3: 11}, 3, id="this data, but other data was pushed since"),
        pytest.param({1: 10, 2: None}, 1, id="a version that does not tell"),
    ],
)
def test_which_version(
    pushed: dict[int, int | None], version: int | NoBaseline, push: Callable[..., Path], tmp_path: Path
) -> None:
    for number, num_examples in pushed.items():
        push(number, None if num_examples is None else statistics(num_examples))
    baseline = find_baseline_statistics(tmp_path / "serving", statistics(5).SerializeToString())
    assert (baseline.version if isinstance(baseline, BaselineStatistics) else baseline) == version


def test_what_it_says(push: Callable[..., Path], tmp_path: Path) -> None:
    push(3, statistics(10))
    baseline = find_baseline_statistics(tmp_path / "serving", b"")
    assert isinstance(baseline, BaselineStatistics)
    assert baseline.statistics == statistics(10)
    assert baseline.fingerprint == hashlib.sha256(statistics(10).SerializeToString()).hexdigest()


def test_a_version_that_is_removed_while_we_look_does_not_count(
    push: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(1, statistics(10))
    newest = push(2, statistics(11))
    read_bytes = Path.read_bytes

    def remove_and_read(path: Path) -> bytes:
        shutil.rmtree(newest, ignore_errors=True)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", remove_and_read)
    baseline = find_baseline_statistics(tmp_path / "serving", b"")
    assert isinstance(baseline, BaselineStatistics)
    assert baseline.version == 1


@pytest.mark.parametrize("content", [b"", b"not statistics"])
def test_a_damaged_file_is_named(content: bytes, push: Callable[..., Path], tmp_path: Path) -> None:
    file = push(3, statistics(10)) / "assets.extra" / "train_statistics.pb"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"3/assets.extra/train_statistics.pb: damaged: expected the statistics of"):
        find_baseline_statistics(tmp_path / "serving", statistics(5).SerializeToString())
