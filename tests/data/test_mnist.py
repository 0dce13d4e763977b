"""The data in the repository has the checksums that data/README.md states."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parents[2] / "data"


@pytest.mark.parametrize(
    ("key", "shape"),
    [("x_train", (60_000, 28, 28)), ("y_train", (60_000,)), ("x_test", (10_000, 28, 28)), ("y_test", (10_000,))],
)
def test_array(key: str, shape: tuple[int, ...]) -> None:
    with np.load(DATA / "mnist.npz", allow_pickle=False) as arrays:
        array = arrays[key]
    assert array.shape == shape
    assert array.dtype == np.uint8
    checksum = hashlib.sha256(array.tobytes()).hexdigest()
    assert f"| `{key}` | {' × '.join(map(str, shape))} | `{checksum}` |" in (DATA / "README.md").read_text()
