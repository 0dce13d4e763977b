"""The main promise: one command trains, gates and pushes; repeated, it does only what has to be done."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from components.example_gen.sources.detection import find_data
from components.robustness.corruptions import CORRUPTIONS
from components.verdict import read_verdict
from pipeline.cli.main import main
from pipeline.local.comparison import compare_runs
from registry.provenance import model_fingerprint, read_provenance
from tests.support.html_page import Parsed

PROJECT_ROOT = Path(__file__).parents[2]
GATES = ["DataGate", "Evaluator", "RobustnessEvaluator", "ServingCheck"]
STEPS = [
    "ImportSchemaGen",
    "MnistExampleGen",
    "StatisticsGen",
    "ExampleValidator",
    "Transform",
    "Trainer",
    "BaselineModel",
    "CorruptedExampleGen",
    "Pusher",
    "RunReport",
    *GATES,
]
AFTER_TRAINER = ["BaselineModel", "Evaluator", "RobustnessEvaluator", "ServingCheck", "Pusher", "RunReport"]


def test_the_first_run_trains_gates_and_pushes(first_run: Any) -> None:
    assert first_run.exit_code == 0, first_run.shown
    assert first_run.result["outcome"] == "pushed"
    assert sorted(first_run.steps_that_ran) == sorted(STEPS)
    assert first_run.result["test_accuracy"] >= 0.95
    assert first_run.result["refusals"] == []
    assert first_run.versions[0] == first_run.result["version"]


def test_a_person_sees_steps_progress_accuracy_decision_and_place(first_run: Any) -> None:
    for step in STEPS:
        assert re.search(
            rf"^✓ {step} +\d+\.\d s(  [\d,]+ records, [\d,]+ per second)?$", first_run.shown, re.MULTILINE
        ), first_run.shown
    assert re.search(r"^ +epoch 4/4: loss .*, accuracy .*; eval .*, .* %", first_run.shown, re.MULTILINE)
    assert re.search(r"^Test accuracy +9\d\.\d\d % \(lowest: class \d, \d+\.\d\d %\)$", first_run.shown, re.MULTILINE)
    assert re.search(r"^Gates +passed: (\w+, ){3}\w+$", first_run.shown, re.MULTILINE)
    assert f"Model          {first_run.result['model']}" in first_run.shown


def test_every_gate_leaves_a_verdict(first_run: Any) -> None:
    assert sorted(first_run.result["verdicts"]) == GATES
    for gate, verdict in first_run.result["verdicts"].items():
        assert verdict["passed"]
        assert read_verdict(verdict["directory"]).gate == gate
        assert (Path(verdict["directory"]) / "verdict.txt").read_text().startswith(f"{gate}: passed")


def test_the_pushed_model_says_where_it_comes_from(first_run: Any) -> None:
    provenance = read_provenance(Path(first_run.result["model"]))
    assert provenance is not None
    assert provenance.origin.pipeline_run == first_run.result["run_id"]
    assert provenance.origin.ingredients is not None
    assert provenance.origin.ingredients.data.uri.endswith("mnist.npz")
    assert {gate.gate for gate in provenance.origin.gates} == set(GATES)
    assert "assets.extra/tf_serving_warmup_requests" in provenance.files
    assert "assets.extra/train_statistics.pb" in provenance.files
    assert "assets.extra/schema.pbtxt" in provenance.files
    assert "assets.extra/model_card.md" in provenance.files


def lineage(run: Any, version: int) -> dict[str, Any]:
    """Returns the JSON of `digits lineage`."""
    options = ("--model", "digits-smoke", "--workspace", run.workspace, "--config", os.devnull, "--json")
    result = CliRunner().invoke(main, ["lineage", str(version), *map(str, options)])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def test_the_lineage_of_the_pushed_model_leads_back_to_the_data(first_run: Any) -> None:
    found = lineage(first_run, first_run.result["version"])
    assert found["metadata"] == str(first_run.workspace / "metadata.sqlite")
    assert (found["missing"], found["problem"]) == ([], None)
    artifacts = {artifact["step"]: artifact for artifact in found["artifacts"]}
    assert {"ImportSchemaGen", "MnistExampleGen", "Transform", "Trainer", "Pusher", *GATES} <= set(artifacts)
    assert all(artifact["exists"] for artifact in artifacts.values())
    by_id = {artifact["id"]: artifact for artifact in found["artifacts"]}
    [(model, graph)] = [
        (by_id[model], by_id[graph])
        for model in artifacts["Pusher"]["inputs"]
        for graph in by_id[model]["inputs"]
        if by_id[graph]["type"] == "TransformGraph" and by_id[model]["step"] == "Trainer"
    ]
    assert model["fingerprint"] == model_fingerprint(Path(first_run.result["model"]))
    assert graph["fingerprint"] == model_fingerprint(Path(graph["uri"]))
    data = [by_id[number]["data"] for number in graph["inputs"]]
    known = find_data(str(PROJECT_ROOT / "data" / "mnist.npz"), None)
    assert {"uri": known.uri, "span": 0, "fingerprint": known.fingerprint} in data
    assert {gate["gate"] for gate in found["origin"]["gates"]} == set(GATES)


def test_library_noise_goes_to_the_log(first_run: Any) -> None:
    (log, *_) = sorted((first_run.workspace / "logs").iterdir())
    assert "Component Trainer is running." in log.read_text()
    assert not re.search("absl|INFO|WARNING|tensorflow/|Deprecat", first_run.shown), first_run.shown


def test_the_pushed_model_answers_alike_in_every_signature_and_loader(
    first_run: Any,
    make_requests: Callable[[np.ndarray], Any],
    eager_answers: Callable[[Path, Any], Any],
    session_answers: Callable[[Path, Any], Any],
) -> None:
    examples_of_runs = (first_run.workspace / "pipeline_root" / "MnistExampleGen" / "examples").iterdir()
    first_examples = min(examples_of_runs, key=lambda path: int(path.name))
    files = sorted(str(path) for path in (first_examples / "Split-test").iterdir())
    examples = [
        tf.train.Example.FromString(record).features.feature
        for record in tf.data.TFRecordDataset(files, compression_type="GZIP").take(100).as_numpy_iterator()
    ]
    encoded = [example["image"].bytes_list.value[0] for example in examples]
    images = np.stack([tf.io.decode_png(file)[..., 0].numpy() for file in encoded])
    labels = np.array([int(example["label"].bytes_list.value[0]) for example in examples])

    directory = Path(first_run.result["model"])
    requests = make_requests(images)
    eager, session = (ask(directory, requests) for ask in (eager_answers, session_answers))

    for name in ("serving_default", "pixels", "examples"):
        np.testing.assert_allclose(session[name], eager[name], atol=1e-5)
    np.testing.assert_allclose(eager["examples"], eager["pixels"], atol=1e-5)
    # What `serving_default` normalizes was normalized before, but for a pixel here and there.
    assert (eager["serving_default"].argmax(axis=-1) == eager["pixels"].argmax(axis=-1)).mean() >= 0.95
    assert (eager["pixels"].argmax(axis=-1) == labels).mean() >= 0.9


def test_an_unchanged_run_does_nothing_and_says_so(first_run: Any, unchanged_run: Any) -> None:
    assert unchanged_run.exit_code == 0, unchanged_run.shown
    assert unchanged_run.result["outcome"] == "unchanged"
    assert unchanged_run.steps_that_ran == []
    assert unchanged_run.result["version"] == first_run.result["version"]
    assert "nothing has changed, nothing to do" in unchanged_run.shown
    assert re.search(r"^= Trainer +cached$", unchanged_run.shown, re.MULTILINE)


@pytest.mark.slow
def test_a_missing_shard_is_made_again(first_run: Any, run_digits: Callable[..., Any]) -> None:
    shards = (first_run.workspace / "pipeline_root" / "MnistExampleGen").glob("examples/*/Split-test/*.gz")
    # Those of the first run; the refused run has made others from other data.
    lost = min(shards, key=lambda path: int(path.parents[1].name))
    lost.unlink()
    run = run_digits(first_run.workspace)
    assert run.exit_code == 0, run.shown
    assert f"{lost} is missing or has changed; its step runs again" in run.shown
    assert {"MnistExampleGen", "StatisticsGen", "Evaluator"} <= set(run.steps_that_ran)
    assert "ImportSchemaGen" not in run.steps_that_ran


def test_a_changed_setting_reruns_what_depends_on_it(first_run: Any, retrained_run: Any) -> None:
    assert retrained_run.exit_code == 0, retrained_run.shown
    assert sorted(retrained_run.steps_that_ran) == sorted(["Trainer", *AFTER_TRAINER])
    assert retrained_run.result["version"] > first_run.result["version"]
    findings = read_verdict(retrained_run.result["verdicts"]["Evaluator"]["directory"]).findings
    change = next(finding for finding in findings if finding.metric == "change of accuracy")
    assert change.baseline == pytest.approx(first_run.result["test_accuracy"]), "the first run's model is the baseline"
    first, second = first_run.result["version"], retrained_run.result["version"]
    assert lineage(retrained_run, second)["origin"]["baseline_version"] == first
    assert second in lineage(retrained_run, first)["users"]["baseline_of"]


def test_two_runs_are_compared_on_the_same_images(first_run: Any, retrained_run: Any) -> None:
    names = [run.result["run_id"] for run in (first_run, retrained_run)]
    comparison = compare_runs(first_run.workspace / "metadata.sqlite", *names)
    assert (comparison.settings, comparison.missing) == ({"trainer.seed": (0, 1)}, ())
    predictions = comparison.predictions
    assert predictions is not None
    assert predictions.overall is not None
    assert predictions.overall.first == pytest.approx(first_run.result["test_accuracy"])
    assert predictions.overall.second == pytest.approx(retrained_run.result["test_accuracy"])
    assert list(predictions.classes) == list("0123456789")
    assert sorted(predictions.corruptions) == sorted(CORRUPTIONS)
    assert (predictions.left_out, predictions.corrupted_left_out) == ((0, 0), (0, 0))


def test_the_page_that_compares_two_runs_has_the_numbers_of_the_json(first_run: Any, retrained_run: Any) -> None:
    options = ["--compare", str(first_run.result["version"]), str(retrained_run.result["version"])]
    options += ["--workspace", str(first_run.workspace), "--json"]
    compared, reported = (json.loads(CliRunner().invoke(main, [name, *options]).stdout) for name in ("runs", "report"))
    page = Parsed(Path(reported["html"]).read_text(encoding="utf-8"))
    assert reported["run_ids"] == [run["run_id"] for run in compared["runs"]]
    assert ["trainer.seed", "0", "1"] in page.rows["Settings"]
    predictions = compared["predictions"]
    sections = {
        "Classes": {"all": predictions["overall"], **predictions["classes"]},
        "Robustness": predictions["corruptions"],
    }
    for title, results in sections.items():
        shown = page.rows[title][1:]
        assert [row[0] for row in shown] == list(results)
        for (_, images, first, second, change, interval, tendency), result in zip(shown, results.values(), strict=True):
            low, high = (100 * end for end in result["interval"])
            assert int(images.replace(",", "")) == result["images"]
            assert (first, second) == (f"{100 * result['first']:.2f} %", f"{100 * result['second']:.2f} %")
            assert change.replace("−", "-") == f"{100 * result['change']:+.2f}"
            assert interval.replace("−", "-") == f"{low:+.2f} to {high:+.2f}"
            assert tendency == ("better" if low > 0 else "worse" if high < 0 else "")
    gates = {tuple(row[:4]): row[4:] for row in page.rows["Gates"]}
    log_losses = [each for each in compared["metrics"] if each["metric"] == "log_loss"]
    for each in log_losses:
        values = [f"{each[order]['value']:.4f}" for order in ("first", "second")]
        assert gates["Evaluator", "log_loss", each["slice"], ""] == values
    assert log_losses


@pytest.mark.slow
def test_an_edited_step_reruns_with_what_depends_on_it(first_run: Any, edited_run: Any) -> None:
    assert edited_run.exit_code == 0, edited_run.shown
    assert sorted(edited_run.steps_that_ran) == sorted(["Transform", "Trainer", *AFTER_TRAINER])
    assert edited_run.result["version"] > first_run.result["version"]
