"""`digits new`, on small data sets of several formats and on data that cannot be used."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from components.features import Contract
from pipeline.settings.settings import Settings, load_contract, load_settings
from tests.support.own_images import LETTERS, SHAPES, write_letters, write_shapes

Digits = Callable[..., Result]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with few letters and shapes."""
    folder = tmp_path_factory.mktemp("drawn")
    write_letters(folder / "letters", per_class=12)
    write_shapes(folder / "shapes", per_class=30)
    return folder


def loaded(name: str, profile: str = "default") -> tuple[Settings, Contract]:
    settings = load_settings({"profile": profile}, Path(name, "digits.toml"))
    return settings, load_contract(settings)


def write_folders(folder: Path, *classes: str, per_class: int = 8, size: tuple[int, int] = (12, 10)) -> Path:
    """Writes gray images of noise; the size is width and height."""
    random = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            pixels = random.integers(1, 255, size[::-1], np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def test_letters(digits: Digits, drawn: Path, tmp_path: Path) -> None:
    result = digits("new", "letters", "--data", drawn / "letters")
    assert result.exit_code == 0, result.output
    settings, contract = loaded("letters")
    assert contract == Contract(LETTERS, 28, 28, 1)
    assert (settings.name, settings.trainer.preparation) == ("letters", "resize")
    assert settings.data.uri == str(drawn / "letters")
    assert settings.data.schema_file == tmp_path / "letters" / "schema.pbtxt"
    assert loaded("letters", "smoke")[0].name == "letters-smoke"
    assert result.output.splitlines() == [
        f"{drawn / 'letters'}: image folder, 312 images",
        "  classes      26: A, B, C, D, E, F, G, H, I, J and 16 more (in alphabetical order)",
        "  size         28 x 28 pixels (all images are 28 x 28)",
        "  colors       gray (no image is in color)",
        "  preparation  resize (of images in requests: the ink is not centered and scaled as in MNIST)",
        "  splits       245 train, 22 eval, 45 test",
        *(line for line in result.output.splitlines() if line.startswith("  gates ")),
        "Wrote letters/digits.toml and letters/schema.pbtxt. Next:",
        f"  digits verify-data --config letters/digits.toml {drawn / 'letters'}",
        "  digits run --config letters/digits.toml --profile smoke",
        "  digits run --config letters/digits.toml",
        "  digits predict --config letters/digits.toml FILE",
    ]


def test_shapes(digits: Digits, drawn: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn / "shapes", "images/shapes")
    result = digits("new", "shapes", "--data", "images/shapes")
    assert result.exit_code == 0, result.output
    settings, contract = loaded("shapes")
    assert contract == Contract(SHAPES, 64, 64, 3)
    assert settings.trainer.preparation == "resize"
    assert settings.data_gate.min_background == 0
    assert settings.data.uri == str(tmp_path / "images" / "shapes")
    assert '"../images/shapes"' in Path("shapes/digits.toml").read_text()
    assert "colors       color (at least one image is in color)" in result.output


def test_the_options(digits: Digits, drawn: Path) -> None:
    options = ("--classes", "square, circle,triangle", "--size", "24x32", "--gray")
    result = digits("new", "mine", "--data", drawn / "shapes", *options)
    assert result.exit_code == 0, result.output
    assert loaded("mine")[1] == Contract(("square", "circle", "triangle"), 24, 32, 1)
    assert result.output.count("(as given)") == 3


def test_mnist_is_ink(digits: Digits) -> None:
    with np.load(Path(__file__).parents[3] / "data" / "mnist.npz") as arrays:
        few: dict[str, Any] = {key: arrays[key][:600] for key in arrays}
    np.savez("few.npz", **few)
    result = digits("new", "mine", "--data", "few.npz")
    assert result.exit_code == 0, result.output
    settings, contract = loaded("mine")
    assert contract == Contract(tuple("0123456789"), 28, 28, 1)
    assert settings.trainer.preparation == "ink"
    assert settings.data_gate.min_background == pytest.approx(0.4)
    assert "in numerical order" in result.output


def test_csv(digits: Digits) -> None:
    random = np.random.default_rng(0)
    rows = [[index % 12, *random.integers(0, 256, 64)] for index in range(120)]
    Path("train.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))
    result = digits("new", "mine", "--data", "train.csv")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[1] == "  assumed      train.csv: no header: column 1 of 65 is the label"
    assert loaded("mine")[1] == Contract(tuple(map(str, range(12))), 8, 8, 1)


def test_names_with_spaces_and_letters_of_any_alphabet(digits: Digits) -> None:
    names = ("New York", "Zürich", "東京")
    write_folders(Path("städte am fluss"), *names)
    result = digits("new", "cities", "--data", "städte am fluss")
    assert result.exit_code == 0, result.output
    assert loaded("cities")[1].classes == names
    # The command can be copied.
    assert "  digits verify-data --config cities/digits.toml 'städte am fluss'\n" in result.output


def test_numbers_are_in_the_order_of_their_values(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_NAME", "other")
    write_folders(Path("images"), "10", "9", "1", "01", "001")
    result = digits("new", "mine", "--data", "images")
    assert "5: 001, 01, 1, 9, 10 (in numerical order)" in result.output
    assert "Wrote mine/digits.toml and mine/schema.pbtxt." in result.output


def test_500_classes(digits: Digits) -> None:
    write_folders(Path("images"), *(f"{number:03d}" for number in range(500)), per_class=14, size=(8, 8))
    result = digits("new", "many", "--data", "images")
    assert result.exit_code == 0, result.output
    assert len(loaded("many")[1].classes) == 500
    assert "The smoke profile uses 4,200 images, which are too few for this many classes" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mine", "--data", "empty"), "empty: found "),
        (("mine", "--data", "one"), "one: found only the class 'cat', expected at least two classes"),
        (("mine", "--data", "none"), "none: found nothing at this path"),
        (
            ("mine", "--data", "rare"),
            "Class 'dog' has 1 image(s), which leaves none for test; add images, at least 7 in all.",
        ),
        (("mine", "--data", "damaged"), "0.png: found "),
        (("taken", "--data", "good"), "taken already exists; choose another name, or remove it."),
        (("file", "--data", "good"), "file already exists; choose another name, or remove it."),
        (("Mine", "--data", "good"), "'Mine': expected up to 44 lower-case letters, digits and hyphens"),
        (("a/b", "--data", "good"), "'a/b': expected up to 44 lower-case letters"),
        (("x" * 45, "--data", "good"), "expected up to 44 lower-case letters"),
        (("mine",), "Missing option '--data'"),
        (("mine", "--data", "good", "--size", "7"), "'7': expected N or HxW, 8 to 1024 pixels"),
        (("mine", "--data", "good", "--size", "64x"), "'64x': expected N or HxW"),
        (("mine", "--data", "good", "--classes", "cat,,dog"), "'cat,,dog': expected distinct class names"),
        (("mine", "--data", "good", "--classes", "cat,cat"), "'cat,cat': expected distinct class names"),
        (("mine", "--data", "good", "--classes", "cat,dig"), "--classes: the data also has images of dog"),
    ],
)
def test_what_cannot_be_used_leaves_nothing_behind(digits: Digits, arguments: tuple[str, ...], message: str) -> None:
    Path("empty").mkdir()
    Path("taken").mkdir()
    Path("file").touch()
    write_folders(Path("one"), "cat")
    write_folders(Path("good"), "cat", "dog")
    write_folders(Path("rare"), "cat", per_class=30)
    write_folders(Path("rare"), "dog", per_class=1)
    Path(write_folders(Path("damaged"), "cat", "dog"), "cat", "0.png").write_bytes(b"\x89PNG")
    before = sorted(os.listdir())
    result = digits("new", *arguments)
    assert result.exit_code in (1, 2), result.output
    assert message in result.stderr
    assert sorted(os.listdir()) == before
    assert not os.listdir("taken")


def test_a_failure_to_write_leaves_nothing_behind(digits: Digits, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_TRAINER__EPOCHS", "0")
    result = digits("new", "mine", "--data", drawn / "shapes")
    assert result.exit_code == 2
    assert "trainer.epochs: Input should be greater than or equal to 1" in result.stderr
    assert os.listdir() == []
