from pathlib import Path

import pytest

from pipeline.kubeflow.compile.compiled_pipeline import parse_compiled
from pipeline.kubeflow.compile.parameters import WrongDeploymentError


def test_a_compiled_pipeline(compiled_file: Path) -> None:
    compiled = parse_compiled(compiled_file.read_bytes(), "compiled.yaml")
    assert compiled.name == "digits"
    assert compiled.steps == ("DataGate", "Trainer", "Pusher")
    assert (compiled.gates_of("Trainer"), compiled.gates_of("Pusher")) == (("DataGate",), ())
    assert {name: (each.type, each.default) for name, each in compiled.parameters.items()} == {
        "data_uri": ("STRING", "data/mnist.npz"),
        "epochs": ("NUMBER_INTEGER", 8),
        "min_accuracy": ("NUMBER_DOUBLE", 0.99),
    }


def test_a_gate_whose_refusal_starts_a_step_is_not_a_gate_of_the_step(compiled_file: Path) -> None:
    content = compiled_file.read_bytes().replace(b"['passed'] == 1", b"['passed'] == 0")
    assert parse_compiled(content, "compiled.yaml").gates_of("Trainer") == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pipelineInfo: {name: digits}", "pipelineInfo: {name: Digits}", "pipeline name 'Digits': expected up to 128"),
        (
            "schemaVersion: 2.1.0",
            "schemaVersion: 2.0.0",
            "schema version 2.0.0; Kubeflow Pipelines accepts only 2.1.0.",
        ),
        ("sdkVersion: ", "sdkversion: ", 'not a KFP pipeline spec: .*no field named "sdkversion"'),
        ("pipelineInfo: ", "pipelineinfo: ", "expected one KFP pipeline spec, found 0; `digits compile` writes such"),
        ("platforms: ", "pipelineInfo: {}\nplatforms: ", "expected one KFP pipeline spec, found 2"),
        ("pipelineInfo: ", "pipelineSpec: ", "is for Vertex AI; compile it without --target vertex."),
        ("pipelineInfo: {", "pipelineInfo: {{", "not valid YAML: "),
        ("platforms: {", "- {", "not a compiled pipeline"),
    ],
)
def test_files_that_kubeflow_pipelines_would_not_accept(compiled_file: Path, old: str, new: str, message: str) -> None:
    compiled_file.write_text(compiled_file.read_text().replace(old, new))
    with pytest.raises(WrongDeploymentError, match=f"compiled.yaml: {message}") as error:
        parse_compiled(compiled_file.read_bytes(), "compiled.yaml")
    assert "\n" not in str(error.value)
