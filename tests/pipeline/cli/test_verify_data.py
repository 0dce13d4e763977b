import json
import shutil
import struct
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner, Result
from PIL import Image

from components import baseline_driver
from components.evaluator import new_data
from components.evaluator.bounds import Measurement
from pipeline.cli.main import main
from pipeline.settings import judgment
from pipeline.settings.settings import load_contract, load_settings
from registry.versions import Version
from tests.support.image_data import csv_text, encode_image, write_idx, write_npz

PROJECT_ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def no_settings_and_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def light_on_black(*shape: int) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return np.where(images < 128, 0, np.where(images < 250, images, 255)).astype(np.uint8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images = light_on_black(20, 28, 28)
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
        "assumptions": [],
        "counts": {
            "train": {str(digit): 2 for digit in range(10)},
            "test": {str(digit): 1 for digit in range(10)},
        },
        "sizes": [{"height": 28, "width": 28, "images": 30}],
        "num_color": 0,
        "refusals": [],
    }


def test_says_what_it_assumes(tmp_path: Path) -> None:
    path = tmp_path / "mnist_train.csv"
    path.write_text(csv_text().partition("\n")[2])
    assert (
        verify_data(path).output.splitlines()[1] == "Assumed: mnist_train.csv: no header: column 1 of 785 is the label"
    )


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
    assert f"\n8 images, 4 sizes, 20 to 23 pixels high and 27 to 30 wide, {described}\n" in result.output
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


PNG = encode_image(np.eye(8, dtype=np.uint8) * 255)
JPEG = encode_image(np.zeros((8, 8, 3), np.uint8), "JPEG")
HUGE_HEADER = PNG[12:16] + struct.pack(">2I", 20_000, 20_000) + PNG[24:29]
HUGE = PNG[:12] + HUGE_HEADER + struct.pack(">I", zlib.crc32(HUGE_HEADER)) + PNG[33:]


def write_tree(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Writes two good classes and further files."""
    for name, content in {"cat/1.png": PNG, "dog/1.png": PNG, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"Cat/1.png": PNG}, ": found classes that differ only by case ('Cat' and 'cat')"),
        ({"empty/.keep": b""}, "/empty: found an empty class folder"),
        ({"cat/2.png": encode_image(np.zeros((1, 1), np.uint8))}, "/cat/2.png: found 1 x 1 pixels"),
        ({"cat/2.png": HUGE}, "/cat/2.png: found a huge image"),
        ({"cat/2.jpg": JPEG, "dog/2.jpg": JPEG[:-5]}, "/dog/2.jpg: found a damaged or truncated JPEG file"),
        ({"cat/2.svg": b"<svg/>"}, "/cat/2.svg: found a file that is not an image"),
        ({"cat/2.png": b"<svg/>"}, "/cat/2.png: found no readable image"),
    ],
)
def test_bad_images_are_named_in_one_line(tmp_path: Path, files: Mapping[str, bytes], message: str) -> None:
    folder = write_tree(tmp_path / "my images", files)
    result = verify_data(folder)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {folder}{message}")
    assert len(result.stderr.splitlines()) == 1


def test_an_empty_folder_and_a_link_out_of_the_data_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert verify_data(tmp_path / "empty").stderr.startswith(f"Error: {tmp_path}/empty: found a folder with nothing")
    folder = write_tree(tmp_path / "linked", {})
    (folder / "cat" / "2.png").symlink_to("/etc/hostname")
    assert verify_data(folder).stderr.startswith(f"Error: {folder}/cat/2.png: found a symbolic link to /etc/hostname")


@pytest.mark.parametrize(
    "files",
    [
        {"cat/2.jpg": encode_image(Image.new("CMYK", (8, 8)), "JPEG")},
        {"猫 und Kätzchen/eins zwei.png": PNG},
        {f"{number}/1.png": PNG for number in range(500)},
    ],
)
def test_unusual_images_are_nothing_wrong(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    result = verify_data(write_tree(tmp_path / "my images", files))
    assert result.exit_code == 0
    assert f"image folder, {len(files) + 2} file(s), nothing wrong" in result.output


def write_mnist(folder: Path, change: Callable[[np.ndarray], np.ndarray], num_images: int = 100) -> Path:
    with np.load(PROJECT_ROOT / "data" / "mnist.npz") as mnist:
        arrays: Any = {key: mnist[key][:num_images] for key in mnist}
    changed: Any = {key: change(each) if key[0] == "x" else each for key, each in arrays.items()}
    np.savez(folder / "changed.npz", **changed)
    return folder / "changed.npz"


@pytest.mark.parametrize(
    ("change", "refusals"),
    [
        (np.asarray, []),
        (np.zeros_like, [("brightest pixel", "the images are blank")]),
        (lambda images: images // 128, [("brightest pixel", "the pixels have another range, such as 0 to 1")]),
        (
            lambda images: 255 - images,
            [("share of zeros (background)", "too few pixels are 0 (background): the images may be inverted, or")],
        ),
        (
            lambda images: images // 2,
            [("share of 255 (ink)", "too few pixels are 255 (ink): the images may be blank or darkened, or")],
        ),
        (
            lambda images: np.stack([images, images // 2, images], axis=3),
            [("images in color", "the schema has gray images"), ("share of 255 (ink)", "too few pixels are 255 (ink)")],
        ),
    ],
    ids=["good", "blank", "0 and 1", "inverted", "darkened", "color"],
)
def test_judges_the_images_of_digits(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], refusals: list[tuple[str, str]]
) -> None:
    path = write_mnist(tmp_path, change)
    result = verify_data(path)
    assert result.exit_code == (3 if refusals else 0)
    assert result.output.startswith(f"{path}: npz, 1 file(s), {'refused' if refusals else 'nothing wrong'}\n")
    assert all(reason in result.output for _, reason in refusals)
    as_json = verify_data(path, "--json")
    assert as_json.exit_code == result.exit_code
    found = json.loads(as_json.output)["refusals"]
    assert [each["metric"] for each in found] == [metric for metric, _ in refusals]
    assert all(each["reason"].startswith(reason) for each, (_, reason) in zip(found, refusals, strict=True))


def test_reads_transparent_digits_as_ink(tmp_path: Path) -> None:
    with np.load(PROJECT_ROOT / "data" / "mnist.npz") as mnist:
        images, labels = mnist["x_train"][:30], mnist["y_train"][:30]
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "digits" / str(label)).mkdir(parents=True, exist_ok=True)
        ink = Image.fromarray(np.stack([np.zeros_like(image), image], axis=2), "LA")
        (tmp_path / "digits" / str(label) / f"{index}.png").write_bytes(encode_image(ink))
    result = verify_data(tmp_path / "digits")
    assert (result.exit_code, "nothing wrong" in result.output) == (0, True)


def test_own_images_may_be_dark_on_light(tmp_path: Path) -> None:
    folder = write_shapes(tmp_path / "shapes", 0)
    for path in folder.rglob("*.png"):
        path.write_bytes(encode_image(255 - np.asarray(Image.open(path))))
    assert verify_data(folder).exit_code == 0


def test_a_workspace_selects_all_rules_of_data_gate(tmp_path: Path) -> None:
    path = write_mnist(tmp_path, np.asarray, num_images=2000)
    assert verify_data(path, "--workspace", tmp_path / "workspace").exit_code == 0
    result = verify_data(write_mnist(tmp_path, np.asarray, 300), "--workspace", tmp_path / "workspace", "--json")
    assert result.exit_code == 3
    found = {(each["metric"], each["slice"]): each["reason"] for each in json.loads(result.output)["refusals"]}
    assert found["examples", "train"] == "too few examples"
    shutil.copytree(PROJECT_ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("*.npz"))
    schema = tmp_path / "data" / "schema.pbtxt"
    schema.write_text(schema.read_text().replace('value: "3" ', ""))
    (tmp_path / "digits.toml").write_text("data.schema_file = 'data/schema.pbtxt'\n[data_gate]\nenforced = false\n")
    assert verify_data(path).exit_code == 0
    (tmp_path / "digits.toml").write_text("data.schema_file = 'data/schema.pbtxt'\n")
    result = verify_data(path)
    assert result.exit_code == 3
    assert "Examples contain values missing from the schema: 3" in result.output


@pytest.fixture
def model_of_mnist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A model in production that recognizes the images of MNIST and no others."""
    with np.load(PROJECT_ROOT / "data" / "mnist.npz") as mnist:
        known = {
            image.tobytes(): str(label).encode() for image, label in zip(mnist["x_test"], mnist["y_test"], strict=True)
        }

    def predict(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        features = [tf.train.Example.FromString(each).features.feature for each in examples.numpy()]
        images = [tf.io.decode_image(each["image"].bytes_list.value[0]).numpy() for each in features]
        return {"label": tf.constant([known.get(image.tobytes(), b"?") for image in images])}

    own = {("accuracy", "all"): Measurement(0.996, (0.994, 0.997))}
    monkeypatch.setattr(judgment, "newest_usable", lambda *_: Version("digits", 7, tmp_path, datetime.now(UTC), 0))
    monkeypatch.setattr(judgment, "read_provenance", lambda _: None)
    monkeypatch.setattr(baseline_driver, "baseline_contract", lambda _: load_contract(load_settings()))
    monkeypatch.setattr(new_data, "own_results", lambda *_: own)
    monkeypatch.setattr(tf.saved_model, "load", lambda _: SimpleNamespace(signatures={"examples": predict}))


@pytest.mark.usefixtures("model_of_mnist")
def test_the_model_in_production_must_recognize_the_data(tmp_path: Path) -> None:
    workspace = ("--workspace", tmp_path / "workspace", "--json")
    assert verify_data(write_mnist(tmp_path, np.asarray, 2000), *workspace).exit_code == 0
    transposed = verify_data(write_mnist(tmp_path, lambda images: images.swapaxes(1, 2).copy(), 2000), *workspace)
    assert transposed.exit_code == 3
    (refusal,) = (
        each for each in json.loads(transposed.output)["refusals"] if each["setting"] == "evaluation.max_new_data_drop"
    )
    assert refusal["reason"].startswith("the model in production recognizes 0")
