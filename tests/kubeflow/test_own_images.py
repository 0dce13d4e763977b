"""Tests the pipeline of `digits new` under the contract of Kubeflow Pipelines, without a cluster. See `emulator`."""

import subprocess
import sys
from pathlib import Path

import pytest

from components.features import SCHEMA_FILE, TEST_SPLIT
from components.schema import parse_contract
from registry.provenance import EXTRA_FOLDER
from registry.versions import list_versions
from tests.kubeflow.conftest import CompileDigits
from tests.kubeflow.emulator.cluster import Cluster
from tests.kubeflow.emulator.launcher import ProcessRunner
from tests.support.own_images import LETTERS, write_letters

PROJECT_ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def test_letters_are_trained_gated_and_pushed(compile_digits: CompileDigits, tmp_path: Path) -> None:
    data = write_letters(tmp_path / "data", per_class=60)
    command = [sys.executable, "-m", "pipeline.cli.main", "new", "letters", "--data", str(data)]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(PROJECT_ROOT)}, capture_output=True, check=True)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    small = ("--set", "trainer.width=32")
    pipeline = compile_digits(tmp_path, workspace, *small, config=str(tmp_path / "letters" / "digits.toml"))
    cluster = Cluster(tmp_path / "cluster", ProcessRunner())

    run = cluster.run(pipeline, {})

    assert run.named("succeeded") | run.named("cached") == set(pipeline.tasks) - {"DataReport"}, run
    examples = cluster.store.path(run.output("MnistExampleGen", "examples").uri)
    assert list((examples / f"Split-{TEST_SPLIT}").iterdir())
    [version] = list_versions(workspace / "serving" / "letters-smoke")
    schema = (version.directory / EXTRA_FOLDER / SCHEMA_FILE).read_text(encoding="utf-8")
    assert parse_contract(schema, SCHEMA_FILE).classes == LETTERS
