"""How the steps are joined, as TFX's compiler sees it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.compiler.compiler import Compiler
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from components.example_gen.data_version import DataVersion
from pipeline.beam_engine import direct_runner_args
from pipeline.digits_pipeline import create_pipeline
from pipeline.settings import PROJECT_ROOT, load_settings

DATA = DataVersion("data/mnist.npz", span=4, fingerprint="abc")

UPSTREAM = {
    "MnistExampleGen": set(),
    "ImportSchemaGen": set(),
    "StatisticsGen": {"MnistExampleGen", "ImportSchemaGen"},
    "ExampleValidator": {"StatisticsGen", "ImportSchemaGen"},
    "Transform": {"MnistExampleGen", "ImportSchemaGen"},
    "Trainer": {"Transform"},
    "BaselineModel": {"Trainer"},
    "Evaluator": {"MnistExampleGen", "ImportSchemaGen", "Trainer", "BaselineModel"},
    "Pusher": {"Trainer", "Evaluator"},
}


def compiled(**overrides: Any) -> dict[str, Any]:
    pipeline = create_pipeline(load_settings(overrides, file=Path(os.devnull)), DATA, direct_runner_args())
    pipeline.metadata_connection_config = sqlite_metadata_connection_config("unused.sqlite")
    nodes = (node.pipeline_node for node in Compiler().compile(pipeline).nodes)
    return {node.node_info.id: node for node in nodes}


def parameters(node: Any) -> dict[str, Any]:
    values = {key: value.field_value for key, value in node.parameters.parameters.items()}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


@pytest.fixture(scope="module")
def nodes() -> dict[str, Any]:
    return compiled()


def test_the_graph(nodes: dict[str, Any]) -> None:
    assert {name: set(node.upstream_nodes) for name, node in nodes.items()} == UPSTREAM


def test_every_split_serves_one_purpose(nodes: dict[str, Any]) -> None:
    trainer, evaluator = parameters(nodes["Trainer"]), parameters(nodes["Evaluator"])
    assert json.loads(trainer["train_args"])["splits"] == ["train"]
    assert json.loads(trainer["eval_args"])["splits"] == ["eval"]
    assert json.loads(evaluator["example_splits"]) == ["test"]


def test_the_data_is_identified_by_its_content(nodes: dict[str, Any]) -> None:
    values = parameters(nodes["MnistExampleGen"])
    assert (values["uri"], values["span"], values["fingerprint"]) == ("data/mnist.npz", 4, "abc")


def test_steps_with_code_of_ours_carry_its_fingerprint(nodes: dict[str, Any]) -> None:
    fingerprints = {
        parameters(nodes["MnistExampleGen"])["code_fingerprint"],
        json.loads(parameters(nodes["Transform"])["custom_config"])["code_fingerprint"],
        json.loads(parameters(nodes["Trainer"])["custom_config"])["code_fingerprint"],
    }
    assert len(fingerprints) == 3
    assert all(len(fingerprint) == 64 for fingerprint in fingerprints)


def changed_nodes(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name in before if parameters(before[name]) != parameters(after[name])}


def test_an_edited_schema_changes_its_step(nodes: dict[str, Any], tmp_path: Path) -> None:
    schema = tmp_path / "schema.pbtxt"
    shutil.copy(PROJECT_ROOT / "data" / "schema.pbtxt", schema)
    before = compiled(data={"schema_file": str(schema)})
    schema.write_text(schema.read_text().replace("max: 255", "max: 254"))
    assert changed_nodes(before, compiled(data={"schema_file": str(schema)})) == {"ImportSchemaGen"}


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        ({"data": {"seed": 1}}, {"MnistExampleGen"}),
        ({"trainer": {"epochs": 1}}, {"Trainer"}),
        ({"evaluation": {"min_accuracy": 0.5}}, {"Evaluator"}),
        ({"workspace": "elsewhere"}, {"Pusher"}),
    ],
)
def test_a_setting_changes_the_steps_that_it_is_about(
    nodes: dict[str, Any], overrides: dict[str, Any], changed: set[str]
) -> None:
    assert changed_nodes(nodes, compiled(**overrides)) == changed


def test_caching_can_be_switched_off(nodes: dict[str, Any]) -> None:
    def caches(compiled_nodes: dict[str, Any]) -> set[bool]:
        return {node.execution_options.caching_options.enable_cache for node in compiled_nodes.values()}

    assert caches(nodes) == {True}
    assert caches(compiled(enable_cache=False)) == {False}
