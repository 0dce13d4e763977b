"""Whole runs of the smoke profile on real images, each a process of its own, shared by the tests that look at them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PROJECT_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class CompletedRun:
    """How a `digits` process ended: what it showed to people, and the JSON that it printed."""

    exit_code: int
    shown: str
    result: Any
    workspace: Path

    @property
    def versions(self) -> list[int]:
        serving = self.workspace / "serving" / "digits-smoke"
        return sorted(int(path.name) for path in serving.glob("[0-9]*"))

    @property
    def steps_that_ran(self) -> list[str]:
        return [step["name"] for step in self.result["steps"] if step["state"] == "ran"]


RunDigits = Callable[..., CompletedRun]


@pytest.fixture(scope="session")
def run_digits() -> RunDigits:
    """Runs `digits run --profile smoke --json` in a workspace; `root` is where the code is taken from."""

    def run(workspace: Path, *arguments: str, root: Path = PROJECT_ROOT) -> CompletedRun:
        command = [sys.executable, "-m", "pipeline.cli", "run", "--profile", "smoke", "--json", "--config", os.devnull]
        process = subprocess.run(
            [*command, "--workspace", str(workspace), *arguments],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        result = json.loads(process.stdout) if process.stdout else None
        return CompletedRun(process.returncode, process.stderr, result, workspace)

    return run


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e2e") / "workspace"


@pytest.fixture(scope="session")
def first_run(run_digits: RunDigits, workspace: Path) -> CompletedRun:
    return run_digits(workspace)


@pytest.fixture(scope="session")
def unchanged_run(first_run: CompletedRun, run_digits: RunDigits) -> CompletedRun:
    return run_digits(first_run.workspace)


@pytest.fixture(scope="session")
def retrained_run(unchanged_run: CompletedRun, run_digits: RunDigits) -> CompletedRun:
    return run_digits(unchanged_run.workspace, "--set", "trainer.seed=1")


@pytest.fixture(scope="session")
def edited_run(
    retrained_run: CompletedRun, run_digits: RunDigits, tmp_path_factory: pytest.TempPathFactory
) -> CompletedRun:
    """The code is a copy of the project's, with an edited preprocessing_fn."""
    root = tmp_path_factory.mktemp("edited")
    for package in ("components", "pipeline"):
        shutil.copytree(PROJECT_ROOT / package, root / package)
    shutil.copytree(PROJECT_ROOT / "data", root / "data")
    preprocessing = root / "components" / "preprocessing.py"
    preprocessing.write_text(preprocessing.read_text() + "\nEDITED = True\n")
    data = PROJECT_ROOT / "data"
    return run_digits(
        retrained_run.workspace,
        *("--data", str(data / "mnist.npz"), "--set", f"data.schema_file={data / 'schema.pbtxt'}"),
        *("--set", "trainer.seed=1"),
        root=root,
    )


@pytest.fixture(scope="session")
def shuffled_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real images, of which those for training have the labels of others."""
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
def refused_run(edited_run: CompletedRun, run_digits: RunDigits, shuffled_data: Path) -> CompletedRun:
    return run_digits(edited_run.workspace, "--data", str(shuffled_data), "--set", "data.sample_fraction=1.0")
