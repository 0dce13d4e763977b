from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from components.example_gen.sources.detection import open_source
from components.example_gen.sources.errors import DataError
from components.example_gen.sources.source import Record, fingerprint, verify

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("layout", "options"),
    [
        ("npz", {}),
        ("npz", {"save": np.savez}),
        ("idx", {}),
        ("idx", {"suffix": ".gz"}),
        ("csv", {}),
        ("csv", {"suffix": ".gz"}),
    ],
)
@pytest.mark.parametrize("records_per_share", [1, 5, 12, 1000])
def test_every_format_and_share_size_returns_the_same_records(
    request: pytest.FixtureRequest,
    read_all: Callable[..., list[Record]],
    expected: list[Record],
    layout: str,
    options: dict[str, Any],
    records_per_share: int,
) -> None:
    source = open_source(str(request.getfixturevalue(f"write_{layout}")(**options)))
    assert source.format.lower() == layout
    assert read_all(source, records_per_share) == expected
    sizes = [len(list(share())) for share in source.shares(records_per_share)]
    assert max(sizes) == min(records_per_share, 12)


def test_fingerprint_does_not_depend_on_the_place(write_idx: Write, write_images: Write, write_npz: Write) -> None:
    for one, other in (
        (write_idx("one"), write_idx("other")),
        (write_images("images"), write_images("further/down")),
    ):
        assert fingerprint(open_source(str(one))) == fingerprint(open_source(str(other)))
    path = write_npz()
    fsspec.filesystem("memory").pipe_file("/fingerprint/mnist.npz", path.read_bytes())
    remote = fingerprint(open_source("memory://fingerprint/mnist.npz"))
    assert remote == fingerprint(open_source(str(path)))
    assert len(remote) == 64


def test_fingerprint_changes_with_the_content(write_idx: Write, write_images: Write) -> None:
    idx, images = write_idx(), write_images()
    before = fingerprint(open_source(str(idx))), fingerprint(open_source(str(images)))
    path = idx / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\x09")
    (images / "0" / "10.png").rename(images / "1" / "00.png")
    assert fingerprint(open_source(str(idx))) != before[0]
    assert fingerprint(open_source(str(images))) != before[1]


def test_fingerprint_requires_every_file(write_idx: Write) -> None:
    folder = write_idx()
    source = open_source(str(folder))
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte: found nothing at this path"):
        fingerprint(source)


def test_verify_summarizes_every_record(write_npz: Write) -> None:
    images = np.full((12, 28, 28), 9, np.uint8)
    images[3, 4, 5] = 7
    tests = np.full((7, 28, 28), 8, np.uint8)
    tests[-1, -1, -1] = 201
    summary = verify(open_source(str(write_npz(x_train=images, x_test=tests))))
    assert summary.counts == {"train": [2, 2, 1, 1, 1, 1, 1, 1, 1, 1], "test": [1, 1, 1, 1, 1, 1, 1, 0, 0, 0]}
    assert (summary.min_pixel, summary.max_pixel) == (7, 201)


def test_verify_finds_damage_in_the_last_file(write_idx: Write) -> None:
    folder = write_idx(suffix=".gz")
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.gz: found gzip data that ends too early"):
        verify(open_source(str(folder)))
