import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 10
    path = tmp_path / "span-7" / "mnist.npz"
    path.parent.mkdir()
    np.savez_compressed(path, x_train=images, y_train=labels, x_test=images[:10], y_test=labels[:10])
    return path


def verify_data(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["verify-data", *map(str, arguments)])


def test_reports_the_content(data: Path) -> None:
    result = verify_data(data)
    assert result.exit_code == 0
    assert "npz, 1 file(s), nothing wrong" in result.output
    assert "pixels 0 to 255" in result.output
    header, _, *rows = [words for line in result.output.splitlines()[2:] if (words := line.split())]
    assert header == ["digit", "train", "test"]
    assert rows == [*([str(digit), "2", "1"] for digit in range(10)), ["all", "20", "10"]]


def test_prints_json_for_the_newest_span(data: Path, tmp_path: Path) -> None:
    result = verify_data(tmp_path / "span-{SPAN}" / "mnist.npz", "--json")
    values: Any = json.loads(result.output)
    assert len(values.pop("fingerprint")) == 64
    assert values == {
        "uri": str(data),
        "span": 7,
        "format": "npz",
        "files": [f"file://{data}"],
        "counts": {"train": [2] * 10, "test": [1] * 10},
        "min_pixel": 0,
        "max_pixel": 255,
    }


def test_reports_the_first_error_in_one_line(data: Path) -> None:
    data.write_bytes(data.read_bytes()[:-100])
    result = verify_data(data)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {data}: found ")
    assert len(result.stderr.splitlines()) == 1
