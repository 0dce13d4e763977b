import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tfx.components.pusher.executor import Executor as PusherExecutor
from tfx.types import Channel
from tfx.types.standard_artifacts import Examples, InfraBlessing, Model

from components.serving_check import component
from components.serving_check.component import ServingCheck, warm_up_requests
from components.serving_check.limits import ServingLimits
from components.verdict import Finding, read_verdict
from components.verdict_artifact import VerdictArtifact
from registry.signatures import INPUTS
from tests.support.examples import DIGITS, SHAPES, make_examples, png, serialize

Run = Callable[[Path], tuple[InfraBlessing, VerdictArtifact]]


def test_contract() -> None:
    model, examples = Channel(type=Model), Channel(type=Examples)
    limits = ServingLimits(huge_batch=7)
    step = ServingCheck(
        model=model,
        examples=examples,
        split="test",
        limits=limits.model_dump_json(),
        evaluation_min_accuracy=0.98,
        model_name="digits",
        advice="Change a limit.",
    )
    assert step.inputs == {"model": model, "examples": examples}
    assert {key: channel.type for key, channel in step.outputs.items()} == {
        "blessing": InfraBlessing,
        "verdict": VerdictArtifact,
    }
    assert json.loads(step.exec_properties.pop("limits"))["huge_batch"] == 7
    assert step.exec_properties == {
        "split": "test",
        "evaluation_min_accuracy": 0.98,
        "model_name": "digits",
        "advice": "Change a limit.",
    }


def examples_of(folder: Path, images: np.ndarray) -> Examples:
    """Writes images as the split `test` of raw tf.Examples, in two files."""
    records = [serialize(image=png(image), label=b"3") for image in images]
    return make_examples(folder / "examples", DIGITS, {"test": [records[:3], records[3:]]})


@pytest.fixture
def run(images: np.ndarray, limits: ServingLimits, tmp_path: Path) -> Run:
    """Runs the step on an export."""

    def run_on(export: Path) -> tuple[InfraBlessing, VerdictArtifact]:
        model, blessing, verdict = Model(), InfraBlessing(), VerdictArtifact()
        for artifact, name in ((model, "model"), (blessing, "blessing"), (verdict, "verdict")):
            artifact.uri = str(tmp_path / name)
            Path(artifact.uri).mkdir()
        (Path(model.uri) / "Format-Serving").symlink_to(export)
        ServingCheck.test_call(
            model=model,
            examples=examples_of(tmp_path, images),
            blessing=blessing,
            verdict=verdict,
            split="test",
            limits=limits.model_dump_json(),
            evaluation_min_accuracy=0.0,
            model_name="digits",
            advice="Change a limit.",
        )
        return blessing, verdict

    return run_on


def test_a_good_export_is_blessed_with_its_warm_up_requests(run: Run, good_export: Path, images: np.ndarray) -> None:
    blessing, verdict = run(good_export)
    assert verdict.get_int_custom_property("passed") == 1
    assert read_verdict(verdict.uri).passed
    assert (Path(verdict.uri) / "fresh_process.log").exists()
    pusher, inputs = PusherExecutor(), {"infra_blessing": [blessing]}
    assert pusher.CheckBlessing(inputs)
    assert (Path(blessing.uri) / "INFRA_BLESSED").exists()
    model = Path(pusher.GetModelPath(inputs))
    assert (model / "saved_model.pb").read_bytes() == (good_export / "saved_model.pb").read_bytes()
    tf.saved_model.load(str(model))
    records = tf.data.TFRecordDataset(str(model / "assets.extra" / "tf_serving_warmup_requests"))
    written = [PredictionLog.FromString(record) for record in records.as_numpy_iterator()]
    assert written == list(warm_up_requests(images, "digits"))


def test_a_refused_export_is_not_blessed(
    run: Run, good_export: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = Finding("empty batch", "pixels", passed=False, reason="no answer")
    received: list[Any] = []

    def refuse(*arguments: Any) -> list[Finding]:
        received.extend(arguments)
        return [refusal]

    monkeypatch.setattr(component, "check_export", refuse)
    blessing, verdict = run(good_export)
    assert verdict.get_int_custom_property("passed") == 0
    assert read_verdict(verdict.uri).findings == (refusal,)
    assert (read_verdict(verdict.uri).gate, read_verdict(verdict.uri).advice) == ("ServingCheck", "Change a limit.")
    assert not PusherExecutor().CheckBlessing({"infra_blessing": [blessing]})
    assert [path.name for path in Path(blessing.uri).iterdir()] == ["INFRA_NOT_BLESSED"]
    assert not blessing.has_custom_property("has_model")
    model_path, contract, sample, labels, min_accuracy, limits, log_file = received
    assert (Path(model_path).name, contract, min_accuracy) == ("Format-Serving", DIGITS, 0.0)
    assert len(sample.images) == limits.num_requests == 8
    assert [Path(file).parent.name for file in sample.example_files] == ["Split-test"] * 2
    assert (sample.num_sent, labels) == (8, [b"3"] * 8)
    assert log_file.parent == Path(verdict.uri)


def test_a_split_without_examples_is_an_error(images: np.ndarray, limits: ServingLimits, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split 'test' has no examples, expected at least one to send"):
        ServingCheck.test_call(
            model=Model(),
            examples=examples_of(tmp_path, images[:0]),
            blessing=InfraBlessing(),
            verdict=VerdictArtifact(),
            split="test",
            limits=limits.model_dump_json(),
            evaluation_min_accuracy=0.0,
            model_name="digits",
            advice="Change a limit.",
        )


def test_warm_up_requests_run_on_every_signature(good_export: Path, images: np.ndarray) -> None:
    signatures = tf.saved_model.load(str(good_export)).signatures
    sizes: dict[str, list[int]] = {name: [] for name in INPUTS}
    for log in warm_up_requests(images[:1], "digits"):
        request = log.predict_log.request
        assert request.model_spec.name == "digits"
        name = request.model_spec.signature_name
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        sizes[name].append(next(iter(signatures[name](**inputs).values())).shape[0])
    assert sizes == {name: [1, 1, 1, 32] for name in INPUTS}


def test_warm_up_images_are_those_of_a_canvas(images: np.ndarray) -> None:
    request = next(warm_up_requests(images, "digits")).predict_log.request
    assert request.model_spec.signature_name == "serving_default"
    canvas = tf.io.decode_png(tf.make_ndarray(request.inputs["image_bytes"])[0])
    assert canvas.shape == (280, 280, 4)
    np.testing.assert_array_equal(canvas[5::10, 5::10], np.pad(images[0], ((0, 0), (0, 0), (3, 0))))


def test_color_warm_up_images_are_sent_as_they_are() -> None:
    colors = np.random.default_rng(0).integers(0, 256, (2, *SHAPES.image_shape), dtype=np.uint8)
    request = next(warm_up_requests(colors, "shapes")).predict_log.request
    np.testing.assert_array_equal(tf.io.decode_png(tf.make_ndarray(request.inputs["image_bytes"])[0]), colors[0])


def test_warm_up_requests_for_large_images_stay_within_the_limits_of_a_request() -> None:
    logs = list(warm_up_requests(np.zeros((1, 1000, 1000, 1), np.uint8), "photos"))
    sizes = [tf.make_ndarray(next(iter(log.predict_log.request.inputs.values()))).shape[0] for log in logs]
    assert sizes == [1, 1, 1, 16] * len(INPUTS)
