import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from unittest.mock import Mock

import kubernetes_validate
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import yaml

from components.trainer.distribution import choose_strategy, is_chief
from tests.support.examples import DIGITS, make_examples, png, serialize

REPOSITORY = Path(__file__).parents[3]

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


def code_block(language: str) -> str:
    """Returns a code block about training from docs/scaling.md."""
    text = (REPOSITORY / "docs" / "scaling.md").read_text().partition("## Train on several machines")[2]
    return text.partition(f"```{language}\n")[2].partition("```")[0]


def test_the_documented_job_is_valid() -> None:
    service, job = yaml.safe_load_all(code_block("yaml"))
    for manifest in (service, job):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    name, spec = service["metadata"]["name"], job["spec"]
    assert spec["template"]["spec"]["subdomain"] == name
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    port = service["spec"]["ports"][0]["port"]
    workers = [f"{job['metadata']['name']}-{index}.{name}:{port}" for index in range(spec["completions"])]
    assert f"WORKERS = {json.dumps(workers)}" in code_block("python")


@pytest.mark.slow
def test_two_machines_train_one_model(transform: tft.TFTransformOutput, tmp_path: Path) -> None:
    """Runs the documented program in two processes; neither number of images is a multiple of two."""
    save_weights = """
        import os, sys
        import numpy as np
        from components.trainer import training

        train_model = training.train_model

        def train_and_save(*arguments):
            model = train_model(*arguments)
            weights = {weight.path: weight.numpy() for weight in model.trainable_weights}
            np.savez(sys.argv[1] + "/weights", steps=model.optimizer.iterations.numpy(), **weights)
            return model

        training.train_model = train_and_save
    """
    images = np.random.default_rng(0).integers(0, 256, (67, 28, 28), dtype=np.uint8)
    records = [serialize(image=png(image), label=b"%d" % (number % 10)) for number, image in enumerate(images)]
    make_examples(tmp_path / "examples", DIGITS, {"train": [records], "eval": [records[:31]]})
    (tmp_path / "transform_graph").symlink_to(transform._transform_output_dir)
    with socket.create_server(("localhost", 0)) as first, socket.create_server(("localhost", 0)) as second:
        addresses = [f"localhost:{server.getsockname()[1]}" for server in (first, second)]
    script = textwrap.dedent(save_weights) + code_block("python")
    for documented, tested in (
        *((f"train-{index}.train:2222", address) for index, address in enumerate(addresses)),
        *((f"/training/{name}", f"{tmp_path}/{name}") for name in ("examples", "transform_graph")),
        *((f'"/training/{name}"', f'sys.argv[1] + "/{name}"') for name in ("model", "logs")),
        ('"batch_size": 64', '"batch_size": 10, "epochs": 2'),
    ):
        assert documented in script
        script = script.replace(documented, tested)

    processes = []
    try:
        for index in range(2):
            folder = tmp_path / str(index)
            folder.mkdir()
            with (folder / "log.txt").open("w") as log:
                process = subprocess.Popen(
                    [sys.executable, "-c", script, str(folder)],
                    env=os.environ | {"JOB_COMPLETION_INDEX": str(index), "CUDA_VISIBLE_DEVICES": "-1"},
                    stderr=log,
                )
            processes.append(process)
        codes = [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == [0, 0], [path.read_text() for path in sorted(tmp_path.glob("*/log.txt"))]

    weights = [np.load(tmp_path / str(index) / "weights.npz") for index in range(2)]
    # 67 images in batches of 10 on each of two machines are 3 steps per epoch.
    assert weights[0]["steps"] == weights[1]["steps"] == 6
    for name in weights[0]:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
    signatures = tf.saved_model.load(str(tmp_path / "0" / "model")).signatures
    probabilities = signatures["pixels"](image=tf.zeros((3, 28, 28)))["probabilities"]
    np.testing.assert_allclose(tf.reduce_sum(probabilities, axis=1), 1, atol=1e-5)
    assert list((tmp_path / "0" / "logs").rglob("events.*"))
    assert not (tmp_path / "1" / "model").exists()
    assert not (tmp_path / "1" / "logs").exists()
