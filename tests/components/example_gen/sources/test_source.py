from collections.abc import Callable
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest

from components.example_gen.sources.detection import open_source
from components.example_gen.sources.errors import DataError
from components.example_gen.sources.source import check_classes, fingerprint
from tests.support.image_data import RECORDS, read_all, write_csv, write_idx, write_images, write_npz


@pytest.mark.parametrize(
    ("format_name", "write"),
    [
        ("npz", write_npz),
        ("npz", partial(write_npz, save=np.savez)),
        ("IDX", write_idx),
        ("IDX", partial(write_idx, suffix=".gz")),
        ("CSV", write_csv),
        ("CSV", partial(write_csv, suffix=".gz")),
    ],
)
@pytest.mark.parametrize("records_per_share", [1, 5, 12, 1000])
def test_every_format_and_share_size_returns_the_same_records(
    tmp_path: Path, format_name: str, write: Callable[[Path], Path], records_per_share: int
) -> None:
    data = write(tmp_path)
    source = open_source(str(data))
    assert source.format == format_name
    assert read_all(data, records_per_share) == RECORDS
    sizes = [len(share.records()) for share in source.shares(records_per_share)]
    assert max(sizes) == min(records_per_share, 12)


@pytest.mark.usefixtures("memory_uris")
def test_fingerprint_does_not_depend_on_the_place(tmp_path: Path) -> None:
    for one, other in (
        (write_idx(tmp_path / "one"), write_idx(tmp_path / "other")),
        (write_images(tmp_path / "images"), write_images(tmp_path / "further/down")),
    ):
        assert fingerprint(open_source(str(one))) == fingerprint(open_source(str(other)))
    path = write_npz(tmp_path)
    fsspec.filesystem("memory").pipe_file("/fingerprint/mnist.npz", path.read_bytes())
    remote = fingerprint(open_source("memory://fingerprint/mnist.npz"))
    assert remote == fingerprint(open_source(str(path)))
    assert len(remote) == 64


def test_fingerprint_changes_with_the_content(tmp_path: Path) -> None:
    idx, images = write_idx(tmp_path / "idx"), write_images(tmp_path / "images")
    before = fingerprint(open_source(str(idx))), fingerprint(open_source(str(images)))
    path = idx / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\x09")
    (images / "0" / "10.png").rename(images / "1" / "00.png")
    assert fingerprint(open_source(str(idx))) != before[0]
    assert fingerprint(open_source(str(images))) != before[1]


def test_fingerprint_requires_every_file(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "idx")
    source = open_source(str(folder))
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte: found nothing at this path"):
        fingerprint(source)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (
            {"train": ["cat", "dog"], "test": ["Cat"]},
            r"found classes that differ only by case \('Cat' and 'cat'\), expected different names; rename one",
        ),
        ({"all": ["straße", "STRASSE"]}, "found classes that differ only by case"),
        (
            {"train": "ab", "test": "abc"},
            "found class 'c' in test only, expected a class of train; add images to train",
        ),
        ({"train": "ab", "test": "a", "eval": "dac"}, "found class 'c', 'd' in eval only, expected a class of train"),
        ({"all": "a"}, "found only the class 'a', expected at least two classes; add images of another class"),
        ({"train": "a", "test": "a"}, "found only the class 'a'"),
    ],
)
def test_refuses_classes_that_nothing_can_be_learned_from(classes: dict[str, list[str]], message: str) -> None:
    with pytest.raises(DataError, match=f"^my-data: {message}"):
        check_classes("my-data", [(origin, name) for origin, names in classes.items() for name in names])


def test_accepts_classes_without_test_images() -> None:
    check_classes("my-data", [("train", "Zwei Wörter"), ("train", "b"), ("test", "b")])
