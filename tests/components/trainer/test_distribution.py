import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from components.trainer.distribution import choose_strategy, is_chief
from tests.support.examples import DIGITS, make_examples, png, serialize

ONE_WORKER = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
TWO_WORKERS = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
SECOND_OF_TWO_WORKERS = TWO_WORKERS | {"task": {"type": "worker", "index": 1}}
CHIEF = {"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "chief", "index": 0}}
WORKER_OF_CHIEF = CHIEF | {"task": {"type": "worker", "index": 0}}


@pytest.mark.parametrize(
    ("tf_config", "gpus", "name"),
    [
        (None, [], "DefaultStrategy"),
        (None, ["GPU:0"], "MirroredStrategy"),
        (ONE_WORKER, [], "DefaultStrategy"),
        (ONE_WORKER, ["GPU:0"], "MirroredStrategy"),
        (TWO_WORKERS, [], "MultiWorkerMirroredStrategy"),
        (CHIEF, ["GPU:0"], "MultiWorkerMirroredStrategy"),
    ],
)
def test_machines_go_before_gpus(
    monkeypatch: pytest.MonkeyPatch, tf_config: dict[str, object] | None, gpus: list[str], name: str
) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps(tf_config or {}))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: "DefaultStrategy")
    for strategy in ("MirroredStrategy", "MultiWorkerMirroredStrategy"):
        monkeypatch.setattr(tf.distribute, strategy, lambda strategy=strategy: strategy)
    assert choose_strategy() == name


@pytest.mark.parametrize(
    ("tf_config", "expected"),
    [(TWO_WORKERS, True), (SECOND_OF_TWO_WORKERS, False), (CHIEF, True), (WORKER_OF_CHIEF, False)],
)
def test_one_machine_is_the_chief(
    monkeypatch: pytest.MonkeyPatch, tf_config: dict[str, object], expected: bool
) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps(tf_config))
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    assert is_chief(Mock(cluster_resolver=resolver)) is expected


def test_a_single_machine_is_the_chief() -> None:
    assert is_chief(tf.distribute.get_strategy())
    assert is_chief(tf.distribute.MirroredStrategy(["CPU:0"]))


def make_split(folder: Path, split: str, num_images: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (num_images, 28, 28), dtype=np.uint8)
    records = [serialize(image=png(image), label=b"%d" % (number % 10)) for number, image in enumerate(images)]
    make_examples(folder / split, DIGITS, {split: [records]})


@pytest.mark.slow
def test_two_machines_train_one_model(transform: tft.TFTransformOutput, tmp_path: Path) -> None:
    """Uses two processes in place of two machines; neither number of images is a multiple of two."""
    script = """
        import sys
        from pathlib import Path
        import numpy as np
        from tfx.components.trainer.fn_args_utils import FnArgs
        from components.trainer import training

        folder, transform_output, index = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
        train_model = training.train_model

        def train_and_save(*arguments):
            model = train_model(*arguments)
            weights = {weight.path: weight.numpy() for weight in model.trainable_weights}
            np.savez(folder / f"weights-{index}.npz", steps=model.optimizer.iterations.numpy(), **weights)
            return model

        training.train_model = train_and_save
        training.run_fn(
            FnArgs(
                train_files=[str(folder / "train" / "Split-train" / "*")],
                eval_files=[str(folder / "eval" / "Split-eval" / "*")],
                schema_path=str(folder / "train" / "schema.pbtxt"),
                transform_output=transform_output,
                serving_model_dir=str(folder / f"model-{index}"),
                model_run_dir=str(folder / f"logs-{index}"),
                custom_config={"hyperparameters": {"epochs": 2, "batch_size": 10}},
            )
        )
    """
    make_split(tmp_path, "train", 67)
    make_split(tmp_path, "eval", 31)
    with socket.create_server(("localhost", 0)) as first, socket.create_server(("localhost", 0)) as second:
        addresses = [f"localhost:{server.getsockname()[1]}" for server in (first, second)]
    processes = []
    try:
        for index in range(2):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            arguments = [str(tmp_path), transform._transform_output_dir, str(index)]
            with (tmp_path / f"log-{index}.txt").open("w") as log:
                process = subprocess.Popen(
                    [sys.executable, "-c", textwrap.dedent(script), *arguments],
                    env=os.environ | {"TF_CONFIG": json.dumps(config), "CUDA_VISIBLE_DEVICES": "-1"},
                    stderr=log,
                )
            processes.append(process)
        codes = [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == [0, 0], [path.read_text() for path in sorted(tmp_path.glob("log-*.txt"))]

    weights = [np.load(tmp_path / f"weights-{index}.npz") for index in range(2)]
    # 67 images in batches of 10 on each of two machines are 3 steps per epoch.
    assert weights[0]["steps"] == weights[1]["steps"] == 6
    for name in weights[0]:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
    signatures = tf.saved_model.load(str(tmp_path / "model-0")).signatures
    probabilities = signatures["pixels"](image=tf.zeros((3, 28, 28)))["probabilities"]
    np.testing.assert_allclose(tf.reduce_sum(probabilities, axis=1), 1, atol=1e-5)
    assert list((tmp_path / "logs-0").rglob("events.*"))
    assert not (tmp_path / "model-1").exists()
    assert not (tmp_path / "logs-1").exists()
