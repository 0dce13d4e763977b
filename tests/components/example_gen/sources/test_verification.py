from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.example_gen.sources import DataError, fingerprint, open_source
from components.example_gen.sources.verification import verify

Write = Callable[..., Path]


def test_counts_every_record(write_npz: Write) -> None:
    images = np.full((12, 28, 28), 9, np.uint8)
    images[3, 4, 5] = 7
    tests = np.full((7, 28, 28), 8, np.uint8)
    tests[-1, -1, -1] = 201
    source = open_source(str(write_npz(x_train=images, x_test=tests)))
    summary = verify(source)
    assert (summary.format, summary.files, summary.fingerprint) == ("npz", source.files, fingerprint(source))
    assert summary.counts == {"train": [2, 2, 1, 1, 1, 1, 1, 1, 1, 1], "test": [1, 1, 1, 1, 1, 1, 1, 0, 0, 0]}
    assert (summary.min_pixel, summary.max_pixel) == (7, 201)


def test_source_without_test_set(write_images: Write) -> None:
    assert verify(open_source(str(write_images()))).counts == {"all": [2, 2, 1, 1, 1, 1, 1, 1, 1, 1]}


def test_finds_damage_in_the_last_file(write_idx: Write) -> None:
    folder = write_idx(suffix=".gz")
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.gz: found gzip data that end too early"):
        verify(open_source(str(folder)))
