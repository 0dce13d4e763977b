import json
import logging
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from components.trainer.hyperparameters import Hyperparameters
from components.trainer.training import predict_logits, run_fn, train_model

MakeExamples = Callable[[int, int], tf.data.Dataset]


def write(examples: tf.data.Dataset, path: Path) -> str:
    with tf.io.TFRecordWriter(str(path), options="GZIP") as writer:
        for image, label in examples.as_numpy_iterator():
            features = {
                "image": tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel())),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return str(path)


def test_run_fn_learns_logs_and_exports(
    make_examples: MakeExamples, transform: tft.TFTransformOutput, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="components")
    run_fn(
        FnArgs(
            train_files=[write(make_examples(400, 0), tmp_path / "train.gz")],
            eval_files=[write(make_examples(60, 1), tmp_path / "eval.gz")],
            transform_output=transform._transform_output_dir,
            serving_model_dir=str(tmp_path / "model"),
            model_run_dir=str(tmp_path / "logs"),
            custom_config={"hyperparameters": Hyperparameters(epochs=3, batch_size=20).model_dump(mode="json")},
        )
    )
    assert tf.saved_model.contains_saved_model(str(tmp_path / "model"))
    assert list((tmp_path / "logs" / "validation").glob("events.*"))
    messages = [record.getMessage() for record in caplog.records]
    assert any(message.startswith("epoch 3/3: loss ") for message in messages)
    assert "epoch 1/3, 50 %" in messages
    assert any(message.startswith("calibrated on eval: temperature ") for message in messages)


def test_training_learns_and_repeats_itself(make_examples: MakeExamples, tmp_path: Path) -> None:
    hyperparameters = Hyperparameters(epochs=8, batch_size=20, seed=4)
    train, evaluation = make_examples(400, 0), make_examples(100, 1)
    models = [train_model(train, evaluation, hyperparameters, tmp_path / name) for name in ("first", "second")]
    losses = models[0].history.history["loss"]
    assert losses[-1] < losses[0]
    logits, labels = predict_logits(models[0], evaluation)
    assert labels.tolist() == [number % 10 for number in range(100)]
    assert (logits.argmax(axis=-1) == labels).mean() > 0.9
    # The order in which threads add up floats is all that may differ.
    np.testing.assert_allclose(logits, predict_logits(models[1], evaluation)[0], atol=0.3)


def test_training_stops_when_eval_no_longer_improves(make_examples: MakeExamples, tmp_path: Path) -> None:
    hyperparameters = Hyperparameters(epochs=30, batch_size=20, patience=1, label_smoothing=0.0)
    examples = make_examples(100, 0)
    random_labels = examples.map(lambda image, label: (image, tf.constant(3, tf.int64) - label % 3))
    model = train_model(examples, random_labels, hyperparameters, tmp_path)
    assert len(model.history.history["loss"]) < 30


def test_several_devices_share_the_work(tmp_path: Path) -> None:
    """Two logical CPUs stand in for two GPUs: each takes its part of a batch."""
    script = """
        import json, sys
        import numpy as np
        import tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from pathlib import Path
        from components.trainer import training
        from components.trainer.hyperparameters import Hyperparameters
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        labels = np.arange(80) % 10
        images = np.zeros((80, 28, 28, 1), np.float32)
        for image, label in zip(images, labels):
            image[2 * label + 4 : 2 * label + 6] = 3
        examples = tf.data.Dataset.from_tensor_slices((images, labels))
        hyperparameters = Hyperparameters(epochs=2, batch_size=10)
        model = training.train_model(examples, examples, hyperparameters, Path(sys.argv[1]), strategy)
        logits, _ = training.predict_logits(model, examples)
        print(json.dumps({"steps": int(model.optimizer.iterations.numpy()), "logits": logits.shape}))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    assert output.returncode == 0, output.stderr
    # 80 images in batches of 10 on each of two devices are 4 steps per epoch.
    assert json.loads(output.stdout.splitlines()[-1]) == {"steps": 8, "logits": [80, 10]}
