from pathlib import Path

import numpy as np
import pytest

from components.example_gen.data_version import find_data
from components.example_gen.sources import DataError


def write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(seed).integers(0, 256, (10, 28, 28), dtype=np.uint8)
    labels = np.arange(10, dtype=np.uint8)
    np.savez_compressed(path, x_train=images, y_train=labels, x_test=images, y_test=labels)


def test_the_newest_span_is_found_and_fingerprinted(tmp_path: Path) -> None:
    for span in (1, 2, 10):
        write(tmp_path / f"span-{span}" / "mnist.npz", seed=span)
    pattern = str(tmp_path / "span-{SPAN}" / "mnist.npz")
    newest = find_data(pattern, None)
    assert (newest.uri, newest.span) == (str(tmp_path / "span-10" / "mnist.npz"), 10)
    assert find_data(pattern, 2).span == 2
    assert find_data(pattern, 2).fingerprint != newest.fingerprint


def test_the_fingerprint_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    for folder, seed in (("here", 1), ("there", 1), ("changed", 2)):
        write(tmp_path / folder / "mnist.npz", seed)
    here, there, changed = (
        find_data(str(tmp_path / folder / "mnist.npz"), None).fingerprint for folder in ("here", "there", "changed")
    )
    assert here == there
    assert here != changed


def test_data_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere.npz"):
        find_data(str(tmp_path / "nowhere.npz"), None)
