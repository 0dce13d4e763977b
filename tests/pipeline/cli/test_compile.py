"""`digits compile`: files, messages and exit codes."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.settings.settings import PROJECT_ROOT


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_pipeline_for_kubeflow(tmp_path: Path, compiled_smoke: str) -> None:
    result = CliRunner().invoke(main, ["compile", "--profile", "smoke"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "pipeline.yaml").read_text() == compiled_smoke
    lines = result.output.splitlines()
    assert lines[0] == "pipeline.yaml: digits-smoke, profile smoke, image digit-classifier:0.1.0"
    assert {"  data_uri=data/mnist.npz", "  data_span=-1", "  epochs=4", "  min_accuracy=0.85"} <= set(lines)
    assert lines[-1] == "Next: digits deploy --host URL --file pipeline.yaml"


def test_a_job_for_vertex_ai(tmp_path: Path) -> None:
    settings = ("kubeflow.vertex_root=gs://bucket/root", "kubeflow.serving_store=gs://bucket/serving")
    options = [text for each in settings for text in ("--set", each)]
    result = CliRunner().invoke(main, ["compile", "--profile", "smoke", "--target", "vertex", *options])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "pipeline.json").read_text())["displayName"] == "digits-smoke"
    assert "  image=" not in result.output
    assert 'PipelineJob(display_name="digits-smoke", template_path="pipeline.json")' in result.output


def test_options_become_defaults_of_the_parameters(tmp_path: Path) -> None:
    arguments = ["--profile", "smoke", "--image", "registry.example.com/digits:2", "--data", "/mine/digits.npz"]
    result = CliRunner().invoke(main, ["compile", *arguments, "--set", "trainer.epochs=2", "--output", "mine.yml"])
    assert result.exit_code == 0, result.output
    spec, _ = yaml.safe_load_all((tmp_path / "mine.yml").read_text())
    defaults = {name: each["defaultValue"] for name, each in spec["root"]["inputDefinitions"]["parameters"].items()}
    assert (defaults["image"], defaults["epochs"]) == ("registry.example.com/digits:2", 2)
    assert defaults["data_uri"] == "/mine/digits.npz"
    assert "Note: the pods need the data at /mine/digits.npz: in the image, or in kubeflow.data" in result.output
    assert "Note: versions will not be signed, so `digits` will not use them: docs/signatures.md." in result.output


@pytest.mark.parametrize(
    ("arguments", "note"),
    [
        ([], None),
        (["--data", "s3://bucket/digits.npz"], None),
        (["--data", "/data/mine.npz", "--set", "kubeflow.data_claim=mine"], None),
        (["--data", "/mnt/mine.npz", "--set", "kubeflow.data_claim=mine"], "in kubeflow.data_claim, mounted at /data."),
        (["--data", f"{PROJECT_ROOT}/data/mnist.npz"], None),
        (["--data", f"{PROJECT_ROOT}/data/{{SPAN}}/mnist.npz"], None),
        (["--data", f"{PROJECT_ROOT}/data/nowhere.npz"], "into the image; move the data there: data/nowhere.npz."),
        (["--data", f"{PROJECT_ROOT}/docs"], "into the image; move the data there: docs."),
        (["--set", "data.schema_file=schema.pbtxt"], "in kubeflow.data_claim, mounted at /data."),
    ],
)
def test_a_note_about_files_that_pods_cannot_read(tmp_path: Path, arguments: list[str], note: str | None) -> None:
    shutil.copy(PROJECT_ROOT / "data" / "schema.pbtxt", tmp_path)
    fixed = ["--profile", "smoke", "--output", "pipeline.yaml", "--set", "kubeflow.signing_secret=key"]
    result = CliRunner().invoke(main, ["compile", *fixed, *arguments])
    assert result.exit_code == 0, result.output
    notes = [line for line in result.output.splitlines() if line.startswith("Note: ")]
    if note is None:
        assert notes == []
    else:
        assert notes[0].endswith(note)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "Digits"], "Error: kubeflow.image: expected an image: [HOST"),
        (["--set", "trainer.epoch=1"], "Error: trainer.epoch: no such setting; did you mean 'epochs'?"),
        (["--set", "name=Digits"], "Error: name: String should match pattern"),
        (["--set", "kubeflow.memory=4GB"], "Error: kubeflow.memory: expected a Kubernetes quantity"),
        (["--data", "s3://{{x}}/y"], "Error: step MnistExampleGen: KFP or Argo would replace {{x}}"),
        (
            ["--target", "vertex"],
            "Error: kubeflow.vertex_root: not set, but Vertex AI stores artifacts in Cloud Storage",
        ),
        (["--output", "pipeline.json"], "expected a name that ends in .yaml or .yml."),
        (["--target", "vertex", "--output", "a.yaml"], "expected a name that ends in .json."),
        (["--output", "missing/pipeline.yaml"], "there is no folder missing."),
        (["--config", "missing.toml"], "Error: missing.toml: cannot be read: No such file or directory."),
    ],
)
def test_a_refused_compilation_leaves_no_file(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["compile", *arguments])
    assert message in result.output
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipeline.yaml").write_text("old")

    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    result = CliRunner().invoke(main, ["compile", "--profile", "smoke"])
    assert (result.exit_code, "No space left on device" in result.output) == (1, True)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("pipeline.yaml", "old")]
