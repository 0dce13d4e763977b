"""The graph of the pipeline, as TFX compiles it."""

import json
import os
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import grimp
import pytest
import tfx.components  # noqa: F401 (TFDV needs it imported first)
from pandas import DataFrame
from tensorflow_data_validation import StatsOptions, generate_statistics_from_dataframe
from tfx.dsl.compiler.compiler import Compiler
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from components.example_gen.sources.detection import DataVersion
from components.trainer.hyperparameters import Search
from pipeline import evaluation
from pipeline.beam.options import direct_runner_args
from pipeline.digits_pipeline import create_pipeline
from pipeline.settings.settings import PROJECT_ROOT, load_settings
from pipeline.settings.tuned import read_trials
from tests.support.examples import DIGITS, schema_text

DATA = DataVersion("data/mnist.npz", span=4, fingerprint="abc")

UPSTREAM = {
    "MnistExampleGen": {"ImportSchemaGen"},
    "ImportSchemaGen": set(),
    "StatisticsGen": {"MnistExampleGen", "ImportSchemaGen"},
    "ExampleValidator": {"StatisticsGen", "ImportSchemaGen"},
    "DataGate": {"StatisticsGen", "ImportSchemaGen", "ExampleValidator"},
    "Transform": {"MnistExampleGen", "ImportSchemaGen", "DataGate"},
    "Trainer": {"MnistExampleGen", "ImportSchemaGen", "Transform", "DataGate"},
    "BaselineModel": {"MnistExampleGen", "Trainer", "DataGate"},
    "Evaluator": {"MnistExampleGen", "Trainer", "BaselineModel", "DataGate"},
    "CorruptedExampleGen": {"MnistExampleGen", "DataGate"},
    "RobustnessEvaluator": {"CorruptedExampleGen", "Trainer", "BaselineModel", "DataGate"},
    "ServingCheck": {"MnistExampleGen", "Trainer", "DataGate"},
    "Pusher": {
        "MnistExampleGen",
        "Trainer",
        "StatisticsGen",
        "Transform",
        "BaselineModel",
        "DataGate",
        "Evaluator",
        "RobustnessEvaluator",
        "ServingCheck",
    },
    "RunReport": {
        "ImportSchemaGen",
        "MnistExampleGen",
        "StatisticsGen",
        "ExampleValidator",
        "DataGate",
        "Transform",
        "Trainer",
        "BaselineModel",
        "Evaluator",
        "RobustnessEvaluator",
        "ServingCheck",
        "Pusher",
    },
    "DataReport": {"ImportSchemaGen", "MnistExampleGen", "StatisticsGen", "ExampleValidator", "DataGate"},
}
REPORTS = {"RunReport", "DataReport"}


def compiled(search: Search | None = None, **overrides: Any) -> dict[str, Any]:
    settings = load_settings(overrides, file=Path(os.devnull))
    pipeline = create_pipeline(settings, DATA, direct_runner_args(), search, read_trials(settings))
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


def test_every_split_has_one_purpose(nodes: dict[str, Any]) -> None:
    trainer = parameters(nodes["Trainer"])
    assert json.loads(trainer["train_args"])["splits"] == ["train"]
    assert json.loads(trainer["eval_args"])["splits"] == ["eval"]
    assert json.loads(parameters(nodes["Evaluator"])["example_splits"]) == ["test"]
    assert json.loads(parameters(nodes["RobustnessEvaluator"])["example_splits"]) == ["test"]
    assert parameters(nodes["ServingCheck"])["split"] == "test"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({}, "data.max_images=4200 of profile smoke limits the data."),
        ({"data": {"max_images": 77}}, "data.max_images=77 limits the data."),
        ({"data": {"max_images": None}}, ""),
    ],
)
def test_the_advice_of_each_gate_names_the_setting_that_limits_the_data(
    overrides: dict[str, Any], sentence: str
) -> None:
    pipeline = create_pipeline(load_settings({"profile": "smoke", **overrides}, Path(os.devnull)), DATA, [])
    advice = {
        each.id: each.exec_properties["advice"] for each in pipeline.components if "advice" in each.exec_properties
    }
    assert set(advice) == {"DataGate", "Evaluator", "RobustnessEvaluator", "ServingCheck"}
    assert all(text.endswith(sentence) if sentence else "max_images" not in text for text in advice.values())


def test_the_data_is_identified_by_its_content(nodes: dict[str, Any]) -> None:
    values = parameters(nodes["MnistExampleGen"])
    assert (values["uri"], values["span"], values["fingerprint"]) == ("data/mnist.npz", 4, "abc")


def test_steps_with_our_code_have_its_fingerprint(nodes: dict[str, Any]) -> None:
    without_own_code = {"ImportSchemaGen", "ExampleValidator"}
    fingerprints = {name: parameters(nodes[name])["code_fingerprint"] for name in set(nodes) - without_own_code}
    assert fingerprints["Evaluator"] == fingerprints["RobustnessEvaluator"]
    assert fingerprints["RunReport"] == fingerprints["DataReport"]
    assert len(set(fingerprints.values())) == len(fingerprints) - 2
    assert all(len(fingerprint) == 64 for fingerprint in fingerprints.values())
    # A model is not made from its report.
    of_model = {name: fingerprint for name, fingerprint in fingerprints.items() if name not in REPORTS}
    assert json.loads(parameters(nodes["Pusher"])["code"]) == of_model


def test_metrics_loaded_by_name_are_part_of_the_fingerprint() -> None:
    upstream = grimp.build_graph("components").find_upstream_modules("components.evaluator.executor")
    loaded = {
        metric.module
        for config in (evaluation.eval_config(["0", "1"]), evaluation.robustness_eval_config(["0", "1"]))
        for spec in config.metrics_specs
        for metric in spec.metrics
        if metric.module
    }
    assert loaded
    assert loaded <= upstream


def test_training_and_later_steps_depend_on_the_verdict_of_data_gate(nodes: dict[str, Any]) -> None:
    conditions = {name: str(node.inputs.conditionals) for name, node in nodes.items()}
    conditional = {name for name, condition in conditions.items() if "passed" in condition}
    before = {"MnistExampleGen", "ImportSchemaGen", "StatisticsGen", "ExampleValidator", "DataGate"}
    assert conditional == set(nodes) - before
    of_value = {name: re.findall(r"int_value: (\d)", conditions[name]) for name in conditional}
    assert of_value == {name: ["0"] if name == "DataReport" else ["1"] for name in conditional}


def test_a_search_shares_the_data_steps_and_ends_with_tuner(nodes: dict[str, Any]) -> None:
    with_search = compiled(Search(folder="tuning", max_trials=3), trainer={"epochs": 2})
    tuner = with_search.pop("Tuner")
    assert set(with_search) == UPSTREAM["Trainer"] | UPSTREAM["DataGate"]
    assert not changed_nodes(with_search, nodes)
    assert set(tuner.upstream_nodes) == UPSTREAM["Trainer"]
    assert "passed" in str(tuner.inputs.conditionals)
    values = parameters(tuner)
    assert (json.loads(values["train_args"])["splits"], json.loads(values["eval_args"])["splits"]) == (
        ["train"],
        ["eval"],
    )
    config = json.loads(values["custom_config"])
    assert config["hyperparameters"]["epochs"] == 2
    assert config["search"]["max_trials"] == 3
    assert config["search"]["code"] == values["code_fingerprint"]


def test_the_report_has_the_trials_behind_tuned_hyperparameters(nodes: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "tuning"
    folder.mkdir()
    (folder / "digits.toml").write_text("[trainer]\nwidth = 32\n")
    (folder / "digits.json").write_text('[{"trial": 0, "eval_loss": 0.5}]')
    with_tuned = compiled(workspace=str(tmp_path), tuned=True)
    assert json.loads(parameters(with_tuned["Trainer"])["custom_config"])["hyperparameters"]["width"] == 32
    assert json.loads(parameters(with_tuned["RunReport"])["trials"]) == [{"trial": 0, "eval_loss": 0.5}]
    assert json.loads(parameters(nodes["RunReport"])["trials"]) == []


@pytest.mark.parametrize("engine", ["docker", "kubernetes"])
def test_infra_validator_can_be_switched_on(nodes: dict[str, Any], engine: str) -> None:
    with_engine = compiled(infra_validator={"engine": engine, "tf_serving_tag": "2.19.1"})
    assert set(with_engine) - set(nodes) == {"InfraValidator"}
    serving_spec = json.loads(parameters(with_engine["InfraValidator"])["serving_spec"])
    assert serving_spec["tensorflow_serving"]["tags"] == ["2.19.1"]
    assert set(serving_spec) == {"tensorflow_serving", "local_docker" if engine == "docker" else "kubernetes"}
    assert "infra_validator_blessing" in with_engine["Pusher"].inputs.inputs
    assert "InfraValidator" in with_engine["Pusher"].upstream_nodes


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
        ({"data": {"seed": 1}}, {"MnistExampleGen", "Pusher"}),
        ({"trainer": {"epochs": 1}}, {"Trainer", "Pusher"}),
        ({"evaluation": {"min_accuracy": 0.5}}, {"Evaluator", "ServingCheck", "Pusher"}),
        ({"data_gate": {"min_saturated": 0.1}}, {"DataGate", "Pusher"}),
        ({"robustness": {"min_accuracy": 0.5}}, {"RobustnessEvaluator", "Pusher"}),
        ({"robustness": {"sample_fraction": 0.5}}, {"CorruptedExampleGen", "Pusher"}),
        ({"serving_check": {"num_requests": 3}}, {"ServingCheck", "Pusher"}),
        ({"workspace": "elsewhere"}, {"DataGate", "BaselineModel", "Pusher"}),
    ],
)
def test_a_setting_changes_only_its_steps(nodes: dict[str, Any], overrides: dict[str, Any], changed: set[str]) -> None:
    # The reports list the settings that differ from the defaults, except the workspace.
    reports = set() if "workspace" in overrides else REPORTS
    assert changed_nodes(nodes, compiled(**overrides)) == changed | reports


def test_caching_can_be_switched_off(nodes: dict[str, Any]) -> None:
    def caches(compiled_nodes: dict[str, Any]) -> set[bool]:
        return {node.execution_options.caching_options.enable_cache for node in compiled_nodes.values()}

    assert caches(nodes) == {True}
    assert caches(compiled(enable_cache=False)) == {False}


@pytest.mark.parametrize(("num_classes", "is_sketched"), [(924, True), (925, False)])
def test_every_class_is_counted_exactly(num_classes: int, is_sketched: bool, tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(num_classes)]
    schema = tmp_path / "schema.pbtxt"
    schema.write_text(schema_text(replace(DIGITS, classes=tuple(names))), encoding="utf-8")
    step = compiled(data={"uri": "data/mnist.npz", "schema_file": str(schema)})["StatisticsGen"]
    options = StatsOptions.from_json(parameters(step)["stats_options_json"])
    assert options.use_sketch_based_topk_uniques == is_sketched
    # TFDV always sketches data frames.
    labels = [*(100 * names[:924]), *map(str, range(100))]
    statistics = generate_statistics_from_dataframe(DataFrame({"label": labels}), options)
    counts = {bucket.label: bucket.sample_count for bucket in label_buckets(statistics)}
    assert counts == dict(Counter(labels))


def label_buckets(statistics: Any) -> Any:
    return statistics.datasets[0].features[0].string_stats.rank_histogram.buckets
