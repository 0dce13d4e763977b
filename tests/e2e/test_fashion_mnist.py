"""Other images in MNIST's layout: refused as a new span of the digits, pushed as a model of their own."""

import re
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main

PROJECT_ROOT = Path(__file__).parents[2]
# Where Debian's package puts the files that the authors publish.
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not FASHION_MNIST.is_dir(),
        reason=f"no Fashion-MNIST in {FASHION_MNIST} (Debian's package dataset-fashion-mnist)",
    ),
]


def write_idx(file: Path, array: np.ndarray) -> None:
    """Writes uint8 in the format of MNIST's own files: http://yann.lecun.com/exdb/mnist."""
    magic = struct.pack(">HBB", 0, 8, array.ndim)
    file.write_bytes(magic + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the spans 1, MNIST, and 2, Fashion-MNIST, both as IDX files."""
    folder = tmp_path_factory.mktemp("spans")
    (folder / "span-1").mkdir()
    with np.load(PROJECT_ROOT / "data" / "mnist.npz") as arrays:
        for split, prefix in (("train", "train"), ("test", "t10k")):
            write_idx(folder / "span-1" / f"{prefix}-images-idx3-ubyte", arrays[f"x_{split}"])
            write_idx(folder / "span-1" / f"{prefix}-labels-idx1-ubyte", arrays[f"y_{split}"])
    shutil.copytree(FASHION_MNIST, folder / "span-2")
    return folder


@pytest.fixture(scope="module")
def digits_run(run_digits: Any, spans: Path) -> Any:
    return run_digits(spans / "workspace", "--data", f"{spans}/span-{{SPAN}}", "--set", "data.span=1")


@pytest.fixture(scope="module")
def next_span_run(digits_run: Any, run_digits: Any, spans: Path) -> Any:
    return run_digits(digits_run.workspace, "--data", f"{spans}/span-{{SPAN}}")


def test_clothes_are_refused_as_a_new_span_of_the_digits(digits_run: Any, next_span_run: Any) -> None:
    assert digits_run.exit_code == 0, digits_run.shown
    assert next_span_run.exit_code == 3, next_span_run.shown
    assert "Trainer" not in next_span_run.steps_that_ran
    assert next_span_run.versions == [digits_run.result["version"]]


def test_the_table_says_what_has_changed(digits_run: Any, next_span_run: Any) -> None:
    assert re.search(r"^Gates +refused by DataGate; nothing was pushed$", next_span_run.shown, re.MULTILINE)
    row = (
        r"^background_share and 3 more +train +drift, Jensen-Shannon +0\.7\d+ +≤ 0\.0700 +REFUSE "
        r".* version (\d+), the last data that passed$"
    )
    found = re.search(row, next_span_run.shown, re.MULTILINE)
    assert found, next_span_run.shown
    assert int(found[1]) == digits_run.result["version"]


def test_clothes_become_a_model_of_their_own(
    next_span_run: Any, run_digits: Any, spans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what `digits new` proposes for them, and bounds that fit so little training."""
    monkeypatch.chdir(spans)
    result = CliRunner().invoke(main, ["new", "fashion", "--data", str(spans / "span-2")])
    assert result.exit_code == 0, result.output
    bounds = {"evaluation.min_accuracy": 0.6, "evaluation.min_class_accuracy": 0, "robustness.min_mean_accuracy": 0.3}
    run = run_digits(
        next_span_run.workspace,
        *("--config", str(spans / "fashion" / "digits.toml")),
        *(argument for bound, value in bounds.items() for argument in ("--set", f"{bound}={value}")),
    )
    assert run.exit_code == 0, run.shown
    assert Path(run.result["model"]).parent.name == "fashion-smoke"
    assert run.versions == next_span_run.versions, "the digits are served as before"
