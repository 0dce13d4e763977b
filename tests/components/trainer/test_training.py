import json
import logging
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tfx.components.trainer.fn_args_utils import FnArgs

from components.features import Contract
from components.progress import PROGRESS_FIELD
from components.run_report.collection import read_scalars
from components.schema import SchemaError
from components.trainer.hyperparameters import Hyperparameters
from components.trainer.training import ProgressLogger, predict_logits, run_fn, train_model
from registry.signatures import INPUTS, NORMALIZE
from tests.support.examples import DIGITS, make_examples, png, serialize

ANSWERING = {name: key for name, key in INPUTS.items() if name != NORMALIZE}
MakeExamples = Callable[[int, int], tf.data.Dataset]


def write(folder: Path, split: str, num_images: int) -> str:
    """Writes digits that can be learned: class k has bright rows of pixels from height 2k + 4."""
    records = []
    for number in range(num_images):
        image = np.random.default_rng(number).integers(0, 20, (28, 28), dtype=np.uint8)
        image[2 * (number % 10) + 4 : 2 * (number % 10) + 6] += 180
        records.append(serialize(image=png(image), label=str(number % 10).encode()))
    make_examples(folder / split, DIGITS, {split: [records]})
    return str(folder / split / f"Split-{split}" / "*")


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    ours = [record for record in caplog.records if record.name.startswith("components")]
    return [record.getMessage() for record in ours if record.levelno == level]


def test_run_fn_learns_logs_and_exports(
    transform: tft.TFTransformOutput, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="components")
    run_fn(
        FnArgs(
            train_files=[write(tmp_path, "train", 400)],
            eval_files=[write(tmp_path, "eval", 60)],
            schema_path=str(tmp_path / "train" / "schema.pbtxt"),
            transform_output=transform._transform_output_dir,
            serving_model_dir=str(tmp_path / "model"),
            model_run_dir=str(tmp_path / "logs"),
            custom_config={"hyperparameters": Hyperparameters(epochs=3, batch_size=20).model_dump(mode="json")},
        )
    )
    model = tf.saved_model.load(str(tmp_path / "model"))
    signatures = model.signatures
    assert signatures["examples"].structured_outputs["classes"].shape == [None, 10]
    assert list((tmp_path / "logs" / "validation").glob("events.*"))
    [start, _] = [
        HParamsPluginData.FromString(value.metadata.plugin_data.content).session_start_info
        for file in (tmp_path / "logs").glob("events.*")
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "hparams"
    ]
    assert (start.group_name, start.hparams["epochs"].number_value) == ("", 3)
    assert set(start.hparams) == set(Hyperparameters.model_fields)
    *progress, calibration = messages(caplog, logging.INFO)
    results = r"loss \d+\.\d{4}, accuracy [\d.]+ %; eval \d+\.\d{4}, [\d.]+ % \(\d+ s\)"
    for number, message in enumerate(progress, start=1):
        assert re.fullmatch(rf"epoch {number}/3: {results}", message)
    assert len(progress) == 3
    results_of_run = read_scalars(str(tmp_path / "logs"))["."]
    num_trained = sum(int(np.prod(weight.shape)) for weight in signatures["examples"].trainable_variables)
    assert results_of_run["parameters"] == [num_trained]
    assert [calibration] == [f"calibrated on eval: temperature {each:.3f}" for each in results_of_run["temperature"]]
    within = messages(caplog, logging.DEBUG)
    assert len(within) == 30
    assert re.fullmatch(r"epoch 1/3: loss \d+\.\d{4}, accuracy [\d.]+ %", within[0])


SHAPES = Contract(("circle", "rotes Quadrat", "triangle"), 64, 64, 3)


def photo(number: int, height: int = 64, width: int = 64) -> np.ndarray:
    """A noisy photo; each class has a color of its own."""
    image = np.random.default_rng(number).integers(0, 60, (height, width, 3), dtype=np.uint8)
    image[height // 4 : -height // 4, width // 4 : -width // 4, number % 3] += 180
    return image


@pytest.mark.slow
def test_color_images_from_examples_to_answers(
    fit_transform: Callable[..., tft.TFTransformOutput],
    make_requests: Callable[[np.ndarray], dict[str, Any]],
    session_answers: Callable[[Path, dict[str, Any]], dict[str, np.ndarray]],
    tmp_path: Path,
) -> None:
    shards = [
        [serialize(image=png(photo(number, *size)), label=SHAPES.classes[number % 3].encode()) for number in range(60)]
        for size in ((64, 64), (100, 70))
    ]
    make_examples(tmp_path / "examples", SHAPES, {"train": shards, "eval": [shards[0][:30]]})
    settings = Hyperparameters(epochs=1, batch_size=10, preparation="resize")
    run_fn(
        FnArgs(
            train_files=[str(tmp_path / "examples" / "Split-train" / "*")],
            eval_files=[str(tmp_path / "examples" / "Split-eval" / "*")],
            schema_path=str(tmp_path / "examples" / "schema.pbtxt"),
            transform_output=fit_transform(SHAPES, np.stack([photo(n) for n in range(6)]))._transform_output_dir,
            serving_model_dir=str(tmp_path / "model"),
            model_run_dir=str(tmp_path / "logs"),
            custom_config={"hyperparameters": settings.model_dump(mode="json")},
        )
    )
    signatures = tf.saved_model.load(str(tmp_path / "model")).signatures

    # A black photo is answered, too: only drawings can be blank.
    photos = np.stack([*(photo(number) for number in range(60, 69)), np.zeros((64, 64, 3), np.uint8)])
    requests = make_requests(photos)
    answers = {name: signatures[name](**{key: tf.constant(requests[name])}) for name, key in ANSWERING.items()}
    for name, probabilities in session_answers(tmp_path / "model", requests).items():
        np.testing.assert_allclose(probabilities, answers["pixels"]["probabilities"], atol=1e-5)
        np.testing.assert_allclose(answers[name]["probabilities"], answers["pixels"]["probabilities"], atol=1e-5)
    answer = answers["serving_default"]
    names = [name.encode() for name in SHAPES.classes]
    assert answer["classes"].numpy().tolist() == [names] * 10
    assert answer["label"].numpy().tolist() == [names[k] for k in answer["probabilities"].numpy().argmax(axis=1)]
    assert set(answer["status"].numpy()) <= {b"ok", b"unsure"}

    other_sizes = tf.constant([png(photo(number, 300, 200)) for number in range(3)] + [requests["serving_default"][0]])
    seen = signatures["normalize"](image_bytes=other_sizes)["image"]
    assert seen.shape == (4, 64, 64, 3)
    np.testing.assert_array_equal(seen[3], photos[0])
    np.testing.assert_array_equal(seen[:3, :, :10], 0)
    examples = tf.constant([serialize(image=file) for file in other_sizes.numpy()])
    for answer in (signatures["pixels"](image=seen), signatures["examples"](examples=examples)):
        np.testing.assert_allclose(
            answer["probabilities"], signatures["serving_default"](image_bytes=other_sizes)["probabilities"], atol=1e-5
        )


def test_a_schema_without_classes_is_refused_before_training(tmp_path: Path) -> None:
    schema = tmp_path / "schema.pbtxt"
    schema.write_text('feature { name: "image" type: BYTES }')
    with pytest.raises(SchemaError, match=r"schema\.pbtxt: expected a feature 'label'"):
        run_fn(FnArgs(schema_path=str(schema), custom_config={"hyperparameters": {}}))


@pytest.mark.slow
def test_training_learns_and_is_reproducible(make_standardized: MakeExamples, tmp_path: Path) -> None:
    hyperparameters = Hyperparameters(epochs=8, batch_size=20, seed=4)
    train, evaluation = make_standardized(400, 0), make_standardized(100, 1)
    models = [train_model(train, evaluation, DIGITS, hyperparameters, tmp_path / name) for name in ("first", "second")]
    losses = models[0].history.history["loss"]
    assert losses[-1] < losses[0]
    logits, labels = predict_logits(models[0], evaluation)
    assert labels.tolist() == [number % 10 for number in range(100)]
    assert (logits.argmax(axis=-1) == labels).mean() > 0.9
    # Only the order in which threads add floats may differ.
    np.testing.assert_allclose(logits, predict_logits(models[1], evaluation)[0], atol=0.3)


def test_training_stops_when_eval_no_longer_improves(make_standardized: MakeExamples, tmp_path: Path) -> None:
    hyperparameters = Hyperparameters(epochs=30, batch_size=20, patience=1, label_smoothing=0.0)
    examples = make_standardized(100, 0)
    random_labels = examples.map(lambda image, label: (image, tf.constant(3, tf.int64) - label % 3))
    model = train_model(examples, random_labels, DIGITS, hyperparameters, tmp_path)
    assert len(model.history.history["loss"]) < 30


@pytest.mark.slow
def test_several_devices_share_the_work(tmp_path: Path) -> None:
    """Uses two logical CPUs in place of two GPUs; each gets its part of a batch."""
    script = """
        import json, sys
        import numpy as np
        import tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from pathlib import Path
        from components.trainer import training
        from components.trainer.hyperparameters import Hyperparameters
        from tests.support.examples import DIGITS
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        labels = np.arange(80) % 10
        images = np.zeros((80, 28, 28, 1), np.float32)
        for image, label in zip(images, labels):
            image[2 * label + 4 : 2 * label + 6] = 3
        examples = tf.data.Dataset.from_tensor_slices((images, labels))
        hyperparameters = Hyperparameters(epochs=2, batch_size=10)
        # One image is too many for two devices.
        evaluation = examples.take(41)
        model = training.train_model(examples, evaluation, DIGITS, hyperparameters, Path(sys.argv[1]), strategy)
        logits, _ = training.predict_logits(model, examples)
        are_equal = [
            bool((first == second).numpy().all())
            for first, second in (strategy.experimental_local_results(w.value) for w in model.trainable_weights)
        ]
        steps = int(model.optimizer.iterations.numpy())
        print(json.dumps({"steps": steps, "logits": logits.shape, "equal": all(are_equal)}))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    assert output.returncode == 0, output.stderr
    # 80 images in batches of 10 on each of two devices are 4 steps per epoch.
    assert json.loads(output.stdout.splitlines()[-1]) == {"steps": 8, "logits": [80, 10], "equal": True}


@pytest.mark.parametrize(
    ("num_steps", "percents"),
    [
        (100, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),
        (4, [25, 50, 75, 100]),
        (25, [8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96]),
    ],
)
def test_progress_is_logged_about_ten_times_per_epoch(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, num_steps: int, percents: list[int]
) -> None:
    caplog.set_level(logging.DEBUG, logger="components")
    times = iter([100.0, 107.0])
    monkeypatch.setattr("components.trainer.training.time.monotonic", lambda: next(times))
    progress = ProgressLogger()
    progress.set_params({"epochs": 2, "steps": num_steps})
    progress.on_epoch_begin(1)
    for step in range(num_steps):
        progress.on_train_batch_end(step, {"loss": 0.5, "accuracy": step / num_steps})
    progress.on_epoch_end(1, {"loss": 0.25, "accuracy": 0.9, "val_loss": 0.5, "val_accuracy": 0.8})
    *within, end = [
        (record.levelno, round(getattr(record, PROGRESS_FIELD), 3), record.getMessage()) for record in caplog.records
    ]
    assert within == [
        (
            logging.DEBUG,
            round(0.5 + percent / 200, 3),
            f"epoch 2/2: loss 0.5000, accuracy {percent - 100 / num_steps:.2f} %",
        )
        for percent in percents
    ]
    results = "loss 0.2500, accuracy 90.00 %; eval 0.5000, 80.00 %"
    assert end == (logging.INFO, 1.0, f"epoch 2/2: {results} (7 s)")
