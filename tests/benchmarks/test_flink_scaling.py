from pathlib import Path

import numpy as np
import pytest

from benchmarks.flink_scaling import EngineFigures, num_shards, table, write_images


def test_all_images_differ_and_have_the_proportion_of_mnist(tmp_path: Path) -> None:
    write_images(tmp_path / "many.npz", 140_000)
    with np.load(tmp_path / "many.npz") as arrays:
        assert arrays["x_test"].shape == (20_000, 28, 28)
        assert arrays["x_train"].shape == (120_000, 28, 28)
        np.testing.assert_array_equal(arrays["y_test"][:10_000], arrays["y_test"][10_000:])
        assert len({image.tobytes() for image in arrays["x_test"]}) == 20_000


def test_more_images_than_copies_of_mnist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="700001 records: expected at most 700000"):
        write_images(tmp_path / "many.npz", 700_001)


@pytest.mark.parametrize(("num_records", "expected"), [(700, 2), (70_000, 7), (700_000, 70)])
def test_shards_have_ten_thousand_records(num_records: int, expected: int) -> None:
    assert num_shards(num_records) == expected


def test_table() -> None:
    direct = EngineFigures({"Transform": 10.0}, 20.0, {"steps": 2**30})
    flink = EngineFigures({"Transform": 30.0}, 40.0, {"steps": 2**29, "job manager": 2**29})
    assert table(700, direct, flink).splitlines() == [
        "| 700 records | direct | Flink, 2 TaskManagers |",
        "|---|---|---|",
        "| Transform (s) | 10.0 | 30.0 |",
        "| whole process (s) | 20.0 | 40.0 |",
        "| peak memory: steps (GiB) | 1.00 | 0.50 |",
        "| peak memory: job manager (GiB) | - | 0.50 |",
    ]
