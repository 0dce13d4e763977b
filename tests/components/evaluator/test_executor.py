"""The executor with a tiny model that TFMA loads: its decision and its artifacts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tfx.components.evaluator import constants
from tfx.components.util.model_utils import is_model_blessed
from tfx.types import Artifact
from tfx.types.artifact_utils import encode_split_names
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing, ModelEvaluation
from tfx.utils.proto_utils import proto_to_json

# isort: split
import tensorflow_model_analysis as tfma

from components.evaluator.bounds import Bound
from components.evaluator.executor import Executor
from components.example_counts import LostExamplesError, write_counts
from components.verdict import read_verdict
from components.verdict_artifact import VerdictArtifact
from pipeline.evaluation import eval_config, robustness_eval_config

Evaluate = Callable[..., dict[str, Artifact]]


class Guesser(tf.Module):
    """Predicts the same digit for every example."""

    def __init__(self, digit: int) -> None:
        super().__init__()
        self._probabilities = tf.one_hot(digit, 10) * 0.9 + 0.01

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def answer(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.tile(self._probabilities[tf.newaxis], [tf.size(examples), 1])}


def make_artifact(kind: type[Artifact], directory: Path) -> Any:
    artifact = kind()
    artifact.uri = str(directory)
    directory.mkdir(parents=True, exist_ok=True)
    return artifact


def make_model(directory: Path, digit: int) -> Artifact:
    artifact = make_artifact(Model, directory)
    guesser = Guesser(digit)
    tf.saved_model.save(guesser, str(directory / "Format-Serving"), {"examples": guesser.answer})
    return artifact


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """Evaluates a model that always predicts 3 on 40 examples with the given number of threes."""
    examples = make_artifact(Examples, tmp_path / "examples")
    examples.split_names = encode_split_names(["test"])
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    examples.set_string_custom_property("tfx_version", "1.21.0")

    def run(
        threes: int, baseline: Artifact | None = None, enforced: bool = True, config: tfma.EvalConfig | None = None
    ) -> dict[str, Artifact]:
        (tmp_path / "examples" / "Split-test").mkdir(exist_ok=True)
        with tf.io.TFRecordWriter(str(tmp_path / "examples" / "Split-test" / "data.gz"), options="GZIP") as writer:
            for number in range(40):
                label = tf.train.Int64List(value=[3 if number < threes else 4])
                corruption = tf.train.BytesList(value=[b"fog" if number % 4 else b"blur"])
                features = tf.train.Features(
                    feature={
                        "label": tf.train.Feature(int64_list=label),
                        "corruption": tf.train.Feature(bytes_list=corruption),
                    }
                )
                writer.write(tf.train.Example(features=features).SerializeToString())
        inputs = {"examples": [examples], "model": [make_model(tmp_path / "model", 3)]}
        if baseline:
            inputs["baseline_model"] = [baseline]
        kinds = {"evaluation": ModelEvaluation, "blessing": ModelBlessing, "verdict": VerdictArtifact}
        outputs = {key: make_artifact(kind, tmp_path / key) for key, kind in kinds.items()}
        bound = Bound(metric="accuracy", lower=0.8, max_worsening=0.3)
        properties = {
            "eval_config": proto_to_json(config or eval_config()),
            "example_splits": json.dumps(["test"]),
            "gate": "Evaluator",
            "bounds": json.dumps({"accuracy": bound.model_dump(exclude_none=True)}),
            "advice": "Train longer.",
            "enforced": int(enforced),
        }
        Executor().Do(inputs, {key: [artifact] for key, artifact in outputs.items()}, properties)
        return outputs

    return run


def blessing_files(outputs: dict[str, Artifact]) -> list[str]:
    return [path.name for path in Path(outputs["blessing"].uri).iterdir()]


def test_a_good_model_is_blessed(evaluate: Evaluate) -> None:
    outputs = evaluate(threes=39)
    verdict = read_verdict(outputs["verdict"].uri)
    assert (verdict.gate, verdict.passed, verdict.advice) == ("Evaluator", True, "Train longer.")
    assert verdict.findings[0].value == pytest.approx(39 / 40)
    assert outputs["verdict"].get_int_custom_property("passed") == 1
    assert is_model_blessed(outputs["blessing"])
    assert blessing_files(outputs) == [constants.BLESSED_FILE_NAME]


def test_a_gate_that_is_switched_off_blesses_any_model_and_says_so(evaluate: Evaluate) -> None:
    outputs = evaluate(threes=1, enforced=False)
    verdict = read_verdict(outputs["verdict"].uri)
    assert (verdict.passed, verdict.enforced, len(verdict.refusals)) == (True, False, 1)
    assert is_model_blessed(outputs["blessing"])
    assert (Path(outputs["verdict"].uri) / "verdict.txt").read_text().startswith("Evaluator: switched off")


def test_a_refusal_does_not_fail_the_step(evaluate: Evaluate) -> None:
    outputs = evaluate(threes=20)
    assert not read_verdict(outputs["verdict"].uri).passed
    assert outputs["verdict"].get_int_custom_property("passed") == 0
    assert not is_model_blessed(outputs["blessing"])
    assert blessing_files(outputs) == [constants.NOT_BLESSED_FILE_NAME]
    assert list(Path(outputs["evaluation"].uri).glob("metrics*"))


def test_the_baseline_is_compared_and_recorded(evaluate: Evaluate, tmp_path: Path) -> None:
    baseline = make_model(tmp_path / "baseline", 4)
    outputs = evaluate(threes=38, baseline=baseline)
    change = next(each for each in read_verdict(outputs["verdict"].uri).findings if each.metric == "change of accuracy")
    assert change.value == pytest.approx(36 / 40)
    assert change.baseline == pytest.approx(2 / 40)
    assert outputs["blessing"].get_string_custom_property("baseline_model") == baseline.uri


@pytest.mark.parametrize("config", [eval_config(), robustness_eval_config()], ids=["all images", "slices"])
def test_an_example_that_the_model_did_not_see_fails_the_step(
    evaluate: Evaluate, tmp_path: Path, config: tfma.EvalConfig
) -> None:
    write_counts({"Split-test/data.gz": 40, "Split-test/lost.gz": 2}, str(tmp_path / "examples"))
    message = r"Split-test: 40 examples were read, but 42 were written; .*/lost\.gz: missing or damaged .*run again"
    with pytest.raises(LostExamplesError, match=message):
        evaluate(threes=39, config=config)


@pytest.mark.slow
def test_an_empty_baseline_is_ignored(evaluate: Evaluate, tmp_path: Path) -> None:
    # Kubeflow does not create its folder.
    baseline = make_artifact(Model, tmp_path / "nothing")
    (tmp_path / "nothing").rmdir()
    outputs = evaluate(threes=39, baseline=baseline)
    assert [finding.metric for finding in read_verdict(outputs["verdict"].uri).findings] == ["accuracy"]
    assert not outputs["blessing"].has_custom_property("baseline_model")
