"""Further runs of the smoke profile, each in the workspace of the one before."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PROJECT_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def unchanged_run(first_run: Any, run_digits: Callable[..., Any]) -> Any:
    return run_digits(first_run.workspace)


@pytest.fixture(scope="session")
def retrained_run(unchanged_run: Any, run_digits: Callable[..., Any]) -> Any:
    return run_digits(unchanged_run.workspace, "--set", "trainer.seed=1")


@pytest.fixture(scope="session")
def edited_run(first_run: Any, run_digits: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The code is a copy of the project's, with an edited preprocessing_fn."""
    root = tmp_path_factory.mktemp("edited")
    for package in ("components", "pipeline", "registry", "serving"):
        shutil.copytree(PROJECT_ROOT / package, root / package)
    shutil.copytree(PROJECT_ROOT / "data", root / "data")
    preprocessing = root / "components" / "preprocessing.py"
    preprocessing.write_text(preprocessing.read_text() + "\nEDITED = True\n")
    data = PROJECT_ROOT / "data"
    return run_digits(
        first_run.workspace,
        *("--data", str(data / "mnist.npz"), "--set", f"data.schema_file={data / 'schema.pbtxt'}"),
        root=root,
    )


@pytest.fixture(scope="session")
def shuffled_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real images whose training labels are shuffled."""
    with np.load(PROJECT_ROOT / "data" / "mnist.npz") as arrays:
        data: dict[str, Any] = {
            key: arrays[key][:size]
            for key, size in {"x_train": 3000, "y_train": 3000, "x_test": 600, "y_test": 600}.items()
        }
    np.random.default_rng(0).shuffle(data["y_train"])
    path = tmp_path_factory.mktemp("shuffled") / "mnist.npz"
    np.savez_compressed(path, **data)
    return path


@pytest.fixture(scope="session")
def refused_run(first_run: Any, run_digits: Callable[..., Any], shuffled_data: Path) -> Any:
    return run_digits(first_run.workspace, "--data", str(shuffled_data))
