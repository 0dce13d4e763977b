import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.example_gen.sources.detection import open_source
from tests.support.image_data import ARRAYS, encode_image, read_all, refuse, write_images

IMAGE = encode_image(ARRAYS["x_train"][0])


def write_tree(folder: Path, *files: str) -> Path:
    """Writes the same image to each file."""
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(IMAGE)
    return folder


def test_reads_class_folders(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images")
    records = read_all(folder)
    order = [0, 10, 1, 11, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [record.pixels for record in records] == [ARRAYS["x_train"][index].tobytes() for index in order]
    assert [record.label for record in records] == list("001123456789")
    assert [record.key for record in records[:3]] == ["0/00.png", "0/10.png", "1/01.png"]
    assert {record.origin for record in records} == {"all"}
    assert read_all(folder, 5) == records
    assert [len(share.records()) for share in open_source(str(folder)).shares(5)] == [5, 5, 2]


def test_passes_files_on_and_reads_only_those_that_are_wanted(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images")
    (share,) = open_source(str(folder)).shares()
    (folder / "0" / "00.png").write_bytes(b"damaged")
    images = list(share.images([1, 11]))
    assert [image.encoded for image in images] == [(folder / name).read_bytes() for name in ("0/10.png", "9/09.png")]
    np.testing.assert_array_equal(images[1].pixels, ARRAYS["x_train"][9][..., np.newaxis])


def test_reads_folders_with_any_names_and_their_subfolders(tmp_path: Path) -> None:
    folder = write_tree(
        tmp_path / "my data", "Zwei Wörter/a b.png", "Zwei Wörter/day 1/pm/ü#1.png", "猫/100%.jpg", "x.y/1.png"
    )
    assert [record[:3] for record in read_all(folder)] == [
        ("all", "Zwei Wörter/a b.png", "Zwei Wörter"),
        ("all", "Zwei Wörter/day 1/pm/ü#1.png", "Zwei Wörter"),
        ("all", "x.y/1.png", "x.y"),
        ("all", "猫/100%.jpg", "猫"),
    ]


def test_reads_a_folder_around_the_class_folders(tmp_path: Path) -> None:
    write_tree(tmp_path, "letters/a/1.png", "letters/b/1.png", "letters/Thumbs.db", "letters/a/desktop.ini")
    assert [record[:3] for record in read_all(tmp_path)] == [("all", "a/1.png", "a"), ("all", "b/1.png", "b")]


@pytest.mark.parametrize("names", [("zero", "One", "nine"), ("00", "01", "09"), ("0 - zero", "1 - one", "9 - nine")])
def test_reads_the_names_of_digits(tmp_path: Path, names: tuple[str, ...]) -> None:
    for part in ("training", "testing"):
        write_tree(tmp_path / part, *(f"{name}/1.png" for name in names))
    assert {(record.origin, record.label) for record in read_all(tmp_path)} == {
        (origin, label) for origin in ("train", "test") for label in ("0", "1", "9")
    }
    (assumption,) = open_source(str(tmp_path)).assumptions
    assert assumption.startswith("the folders '")
    write_tree(tmp_path / "training", "007/1.png")
    assert {record.label for record in read_all(tmp_path)} == {*names, "007"}
    assert open_source(str(tmp_path)).assumptions == ()


def test_names_with_accents_do_not_depend_on_the_file_system(tmp_path: Path) -> None:
    folder = write_tree(tmp_path, "cafe\N{COMBINING ACUTE ACCENT}/1.png", "tea/1.png")
    assert [record.label for record in read_all(folder)] == ["caf\N{LATIN SMALL LETTER E WITH ACUTE}", "tea"]
    write_tree(tmp_path, "caf\N{LATIN SMALL LETTER E WITH ACUTE}/1.png")
    refuse(folder, "caf.*: found another folder of class 'caf.*', expected one; merge them")


@pytest.mark.parametrize(
    ("names", "origins"),
    [
        (("train", "test"), ("train", "test")),
        (("testing", "training"), ("train", "test")),
        (("Train", "Val", "Test"), ("train", "eval", "test")),
        (("train", "valid"), ("train", "eval")),
        (("train", "validation", "test"), ("train", "eval", "test")),
        (("train",), ("train",)),
    ],
)
def test_reads_folders_for_training_validation_and_testing(
    tmp_path: Path, names: tuple[str, ...], origins: tuple[str, ...]
) -> None:
    for name in names:
        write_tree(tmp_path / name, "a/1.png", "b/day/2.png")
    (tmp_path / "README.md").write_text("Letters")
    records = read_all(tmp_path)
    assert [record.origin for record in records] == [origin for origin in origins for _ in range(2)]
    assert [record.label for record in records] == ["a", "b"] * len(origins)
    assert {record.key for record in records} == {
        f"{name}/{file}" for name in names for file in ("a/1.png", "b/day/2.png")
    }


def test_accepts_suffixes_of_any_case_links_inside_and_a_link_to_the_data(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "images", "a/1.PNG", "b/1.JPeG", "b/.DS_Store", ".git/config")
    (folder / "a" / "2.png").symlink_to("../b/1.JPeG")
    (tmp_path / "link").symlink_to(folder)
    for data in (folder, tmp_path / "link"):
        assert [record.key for record in read_all(data)] == ["a/1.PNG", "a/2.png", "b/1.JPeG"]


@pytest.mark.parametrize(
    ("link", "target", "message"),
    [
        (
            "a/2.png",
            "../../outside/secret/1.png",
            r"images/a/2.png: found a symbolic link to .*/outside/secret/1.png, exp",
        ),
        (
            "a/2.png",
            "/etc/passwd",
            r"images/a/2.png: found a symbolic link to /etc/passwd, expected files and folders in",
        ),
        ("a/2.png", "nowhere/else.png", r"images/a/nowhere/else.png|images/a/2.png: found nothing at this path"),
        (
            "c",
            "../outside/secret",
            r"images/c: found a symbolic link to .*/outside/secret, expected files and folders in",
        ),
        ("a/loop", "..", r"images/a/loop: found a symbolic link to .*/images, expected files and folders in"),
    ],
)
def test_refuses_links_that_lead_out_of_the_data(tmp_path: Path, link: str, target: str, message: str) -> None:
    write_tree(tmp_path / "outside", "secret/1.png")
    folder = write_tree(tmp_path / "images", "a/1.png", "b/1.png")
    (folder / link).symlink_to(target)
    refuse(folder, message)


def test_refuses_a_link_to_a_folder_for_training(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "images", "train/a/1.png", "train/b/1.png")
    (folder / "test").symlink_to("train")
    refuse(folder, "images/test: found a symbolic link to .*/images/train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "3" / "03.png").rename(folder / "3" / ".03.png"), "/3: found an empty class folder"),
        (lambda folder: (folder / "empty").mkdir(), "/empty: found an empty class folder, expected at least one image"),
        *(
            (
                lambda folder, name=name: (folder / "4" / name).touch(),
                rf"/4/{name}: found a file that is not an image, expected only images \(.png, .*; remove or convert",
            )
            for name in ("labels.csv", "digit.pdf")
        ),
        (lambda folder: (folder / "digit.png").touch(), "/digit.png: found an image outside the class folders"),
        (
            lambda folder: write_tree(folder, "4/caf\udce9.png"),
            r"/4/caf\\udce9.png: found a name that is not UTF-8, expected a name in UTF-8; rename it",
        ),
        (lambda folder: write_tree(folder, "caf\udce9/1.png"), r"/caf\\udce9: found a name that is not UTF-8"),
        (
            lambda folder: write_tree(folder, "a/1.png", "A/1.png"),
            r": found classes that differ only by case \('A' and 'a'",
        ),
    ],
)
def test_refuses_other_content(tmp_path: Path, change: Callable[[Path], object], message: str) -> None:
    folder = write_images(tmp_path / "images")
    change(folder)
    refuse(folder, f"images{message}")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ("only/1.png", "only/2.png"),
            ": found only the class 'only', expected at least two .* each subfolder is a class",
        ),
        (("train/1.png",), "/train/1.png: found an image outside the class folders, expected it in one of them"),
        (
            ("train/a/1.png", "train/b/1.png", "test/c/1.png"),
            ": found class 'c' in test only, expected a class of train",
        ),
        (("train/a/1.png", "train/b/1.png", "val/A/1.png"), ": found classes that differ only by case"),
        (
            ("train/a/1.png", "train/b/1.png", "test/.keep"),
            "/test: found no class folder, expected one folder per class",
        ),
        *(
            (
                ("train/a/1.png", "train/b/1.png", *others),
                f": found the folders {found}, expected one folder train and at most one each of val and test; rename",
            )
            for others, found in (
                (("0/1.png",), "'0', 'train'"),
                (("test/a/1.png", "testing/a/1.png"), "'test', 'testing', 'train'"),
                (("val/a/1.png", "valid/a/1.png"), "'train', 'val', 'valid'"),
                (("holdout/a/1.png", "test/a/1.png"), "'holdout', 'test', 'train'"),
            )
        ),
        (("test/a/1.png", "test/b/1.png"), ": found the folders 'test', expected one folder train"),
    ],
)
def test_refuses_other_layouts(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    refuse(write_tree(tmp_path / "images", *files), f"images{message}")


def test_reads_five_hundred_classes(tmp_path: Path) -> None:
    folder = write_tree(tmp_path, *(f"class {number}/1.png" for number in range(500)))
    assert len({record.label for record in read_all(folder)}) == 500
    shutil.rmtree(folder / "class 7")
    assert len(read_all(folder)) == 499
