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

from components.example_gen.executor import encode_example
from components.example_gen.sources.source import Record
from components.serving_check import component
from components.serving_check.component import ServingCheck, warm_up_requests
from components.serving_check.limits import ServingLimits
from components.serving_check.requests import SIGNATURES
from components.verdict import Finding, read_verdict
from components.verdict_artifact import VerdictArtifact

Run = Callable[[Path], tuple[InfraBlessing, VerdictArtifact]]


def test_contract() -> None:
    model, examples = Channel(type=Model), Channel(type=Examples)
    limits = ServingLimits(huge_batch=7)
    step = ServingCheck(
        model=model, examples=examples, split="test", limits=limits.model_dump_json(), model_name="digits"
    )
    assert step.inputs == {"model": model, "examples": examples}
    assert {key: channel.type for key, channel in step.outputs.items()} == {
        "blessing": InfraBlessing,
        "verdict": VerdictArtifact,
    }
    assert json.loads(step.exec_properties.pop("limits"))["huge_batch"] == 7
    assert step.exec_properties == {"split": "test", "model_name": "digits"}


def make_examples(folder: Path, images: np.ndarray) -> Examples:
    """Writes images as the split `test` of raw tf.Examples, in two files."""
    examples = Examples()
    examples.uri = str(folder / "examples")
    examples.split_names = '["test"]'
    (folder / "examples" / "Split-test").mkdir(parents=True)
    for number, shard in enumerate(np.array_split(images, 2)):
        file = folder / "examples" / "Split-test" / f"data_tfrecord-{number:05d}-of-00002.gz"
        with tf.io.TFRecordWriter(str(file), options="GZIP") as writer:
            for image in shard:
                writer.write(encode_example(Record("test", "test/000000", image.tobytes(), 3)))
    return examples


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
            examples=make_examples(tmp_path, images),
            blessing=blessing,
            verdict=verdict,
            split="test",
            limits=limits.model_dump_json(),
            model_name="digits",
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


def test_a_refused_export_is_not_blessed(run: Run, good_export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = Finding("empty batch", "pixels", passed=False, reason="no answer")
    received: list[Any] = []

    def refuse(*arguments: Any) -> list[Finding]:
        received.extend(arguments)
        return [refusal]

    monkeypatch.setattr(component, "check_export", refuse)
    blessing, verdict = run(good_export)
    assert verdict.get_int_custom_property("passed") == 0
    assert read_verdict(verdict.uri).findings == (refusal,)
    assert read_verdict(verdict.uri).gate == "ServingCheck"
    assert not PusherExecutor().CheckBlessing({"infra_blessing": [blessing]})
    assert [path.name for path in Path(blessing.uri).iterdir()] == ["INFRA_NOT_BLESSED"]
    assert not blessing.has_custom_property("has_model")
    model_path, images, limits, log_file = received
    assert model_path.endswith("Format-Serving")
    assert len(images) == limits.num_requests == 8
    assert log_file.parent == Path(verdict.uri)


def test_a_split_without_examples_is_an_error(images: np.ndarray, limits: ServingLimits, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split 'test' has no examples, expected at least one to send"):
        ServingCheck.test_call(
            model=Model(),
            examples=make_examples(tmp_path, images[:0]),
            blessing=InfraBlessing(),
            verdict=VerdictArtifact(),
            split="test",
            limits=limits.model_dump_json(),
            model_name="digits",
        )


def test_warm_up_requests_run_on_every_signature(good_export: Path, images: np.ndarray) -> None:
    signatures = tf.saved_model.load(str(good_export)).signatures
    sizes: dict[str, list[int]] = {name: [] for name in SIGNATURES}
    for log in warm_up_requests(images[:1], "digits"):
        request = log.predict_log.request
        assert request.model_spec.name == "digits"
        name = request.model_spec.signature_name
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        sizes[name].append(next(iter(signatures[name](**inputs).values())).shape[0])
    assert sizes == {name: [1, 1, 1, 32] for name in SIGNATURES}


def test_warm_up_images_are_those_of_a_canvas(images: np.ndarray) -> None:
    request = next(warm_up_requests(images, "digits")).predict_log.request
    assert request.model_spec.signature_name == "serving_default"
    canvas = tf.io.decode_png(tf.make_ndarray(request.inputs["image_bytes"])[0])
    assert canvas.shape == (280, 280, 4)
    np.testing.assert_array_equal(canvas[5::10, 5::10], np.pad(images[0][..., np.newaxis], ((0, 0), (0, 0), (3, 0))))
