from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from components.example_gen.sources import DataError, fingerprint, open_source

Write = Callable[..., Path]


def test_fingerprint_is_the_same_in_another_place(write_idx: Write, write_images: Write) -> None:
    folders = [write_idx("one"), write_idx("another")]
    assert len({fingerprint(open_source(str(folder))) for folder in folders}) == 1
    folders = [write_images("images"), write_images("further/down")]
    assert len({fingerprint(open_source(str(folder))) for folder in folders}) == 1


def test_fingerprint_is_the_same_on_another_file_system(write_npz: Write) -> None:
    path = write_npz()
    fsspec.filesystem("memory").pipe_file("/fingerprint/mnist.npz", path.read_bytes())
    remote = open_source("memory://fingerprint/mnist.npz")
    assert fingerprint(remote) == fingerprint(open_source(str(path)))
    assert len(fingerprint(remote)) == 64


def test_fingerprint_changes_with_one_byte(write_idx: Write) -> None:
    source = open_source(str(write_idx()))
    before = fingerprint(source)
    path = Path(source.files[-1].removeprefix("file://"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x09")
    assert fingerprint(source) != before


def test_fingerprint_changes_when_an_image_changes_class(write_images: Write) -> None:
    folder = write_images()
    before = fingerprint(open_source(str(folder)))
    (folder / "0" / "10.png").rename(folder / "1" / "00.png")
    assert fingerprint(open_source(str(folder))) != before


def test_fingerprint_needs_every_file(write_idx: Write) -> None:
    folder = write_idx()
    source = open_source(str(folder))
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte: found nothing at this path"):
        fingerprint(source)


@pytest.mark.parametrize("layout", ["npz", "idx", "images"])
@pytest.mark.parametrize("records_per_share", [0, -1])
def test_shares_have_records(request: pytest.FixtureRequest, layout: str, records_per_share: int) -> None:
    source = open_source(str(request.getfixturevalue(f"write_{layout}")()))
    with pytest.raises(ValueError, match=f"records_per_share must be at least 1, not {records_per_share}"):
        source.shares(records_per_share)


@pytest.mark.parametrize("layout", ["npz", "idx", "images"])
def test_no_share_is_larger_than_asked_for(request: pytest.FixtureRequest, layout: str) -> None:
    source = open_source(str(request.getfixturevalue(f"write_{layout}")()))
    for records_per_share in (1, 4, 12):
        sizes = [len(list(share.read())) for share in source.shares(records_per_share)]
        assert max(sizes) == records_per_share
