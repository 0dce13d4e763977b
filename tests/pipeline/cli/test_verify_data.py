import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from tests.support.image_data import encode_image, write_idx, write_npz


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
    assert "30 images, 28 x 28 pixels (height x width), gray\nSHA-256 " in result.output
    header, _, *rows = [words for line in result.output.splitlines()[3:] if (words := line.split())]
    assert header == ["class", "train", "test"]
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
        "counts": {
            "train": {str(digit): 2 for digit in range(10)},
            "test": {str(digit): 1 for digit in range(10)},
        },
        "sizes": [{"height": 28, "width": 28, "images": 30}],
        "num_color": 0,
    }


def write_shapes(folder: Path, color: int) -> Path:
    for name in ("Zwei Wörter", "kreis"):
        for number in range(4):
            image = np.zeros((20 + number, 30 - number, 3), np.uint8)
            image[0, 0] = [255, 255 if number >= color else 0, 255]
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name / f"{number}.png").write_bytes(encode_image(image))
    return folder


@pytest.mark.parametrize(("color", "described"), [(0, "gray"), (4, "color"), (1, "2 in color and 6 gray")])
def test_says_what_the_images_are(tmp_path: Path, color: int, described: str) -> None:
    result = verify_data(write_shapes(tmp_path / "my shapes", color))
    assert result.exit_code == 0
    assert "my shapes: image folder, 8 file(s), nothing wrong\n" in result.output
    assert f"\n8 images, 4 sizes from 20 to 23 high and 27 to 30 wide, {described}\n" in result.output
    assert [line.split() for line in result.output.splitlines()[-3:]] == [
        ["Zwei", "Wörter", "4"],
        ["kreis", "4"],
        ["all", "8"],
    ]


def test_counts_a_class_that_a_set_lacks(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "shapes" / "train", 4).parent
    write_shapes(folder / "val", 4)
    shutil.rmtree(folder / "val" / "kreis")
    values: Any = json.loads(verify_data(folder, "--json").output)
    assert values["counts"] == {"train": {"Zwei Wörter": 4, "kreis": 4}, "eval": {"Zwei Wörter": 4, "kreis": 0}}
    assert values["num_color"] == 12


def test_finds_damage_in_the_last_file(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "idx", suffix=".gz")
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    result = verify_data(folder)
    assert result.exit_code == 1
    assert "t10k-labels-idx1-ubyte.gz: found gzip data that ends too early" in result.stderr


def test_checks_the_classes(tmp_path: Path) -> None:
    path = write_npz(tmp_path, y_train=np.zeros(12, np.uint8))
    result = verify_data(path)
    assert result.exit_code == 1
    assert "mnist.npz: found class '1', '2', '3', '4', '5', '6' in test only" in result.stderr


def test_reports_the_first_error_in_one_line(data: Path) -> None:
    data.write_bytes(data.read_bytes()[:-100])
    result = verify_data(data)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {data}: found ")
    assert len(result.stderr.splitlines()) == 1
