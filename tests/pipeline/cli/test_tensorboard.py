import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from ml_metadata.proto import metadata_store_pb2

from pipeline.cli.tensorboard import TensorBoardError, link_logs
from pipeline.local.metadata import record_outcome
from pipeline.settings.settings import PROJECT_ROOT, Settings, load_settings

COMPLETE, CACHED, RUNNING = (
    metadata_store_pb2.Execution.COMPLETE,
    metadata_store_pb2.Execution.CACHED,
    metadata_store_pb2.Execution.RUNNING,
)
FIRST, SECOND, THIRD, FOURTH = (f"2026-01-0{day}T03:04:05.000006" for day in (2, 3, 4, 5))
FIRST_NAME, FOURTH_NAME = "2026-01-02 03:04:05 pushed 17", "2026-01-05 03:04:05 unfinished"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"workspace": str(tmp_path)}, file=Path(os.devnull))


@pytest.fixture
def logs(settings: Settings, add_run: Callable[..., None], store: Any) -> list[Path]:
    """Four runs: one pushed, one did nothing, one was refused before Trainer, one is training."""
    add_run(FIRST, {"Trainer": COMPLETE, "Pusher": COMPLETE}, "17")
    add_run(SECOND, {"Trainer": CACHED, "Pusher": CACHED})
    add_run(THIRD, {"DataGate": COMPLETE})
    add_run(FOURTH, {"Trainer": RUNNING})
    record_outcome(store, FIRST, "pushed")
    folders = [settings.pipeline_root / "Trainer" / "model_run" / name for name in ("1", "6")]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


def test_each_training_has_a_link_with_the_name_of_its_run(
    settings: Settings, logs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "links").mkdir()
    link_logs(settings, tmp_path / "links")
    links = {link.name: link.resolve() for link in (tmp_path / "links").iterdir()}
    assert links == {FIRST_NAME: logs[0], FOURTH_NAME: logs[1]}


def test_a_workspace_without_training_is_refused(
    settings: Settings, digits: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "links").mkdir()
    with pytest.raises(TensorBoardError, match="no run has trained a model yet; start one with `digits run`"):
        link_logs(settings, tmp_path / "links")
    result = digits("tensorboard", "--workspace", tmp_path / "none", "--config", os.devnull)
    assert (result.exit_code, result.stderr.startswith(f"Error: {tmp_path / 'none'}: no run")) == (1, True)


def command(workspace: Path, port: int) -> list[str]:
    options = ["--workspace", str(workspace), "--config", os.devnull, "--port", str(port)]
    return [sys.executable, "-m", "pipeline.cli.main", "tensorboard", *options]


def ask(url: str, request: Any = None) -> Any:
    data = None if request is None else json.dumps(request).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"})) as response:
        return json.load(response)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tensorboard_shows_runs_and_hyperparameters(logs: list[Path], tmp_path: Path, number: signal.Signals) -> None:
    import tensorflow as tf
    from tensorboard.plugins.hparams import api as hparams

    for learning_rate, folder in enumerate(logs):
        with tf.summary.create_file_writer(str(folder)).as_default():
            hparams.hparams({"learning_rate": learning_rate}, trial_id="")
        with tf.summary.create_file_writer(str(folder / "validation")).as_default():
            tf.summary.scalar("epoch_accuracy", 0.9, step=0)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with subprocess.Popen(
        command(tmp_path, 0),
        cwd=PROJECT_ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
        # Commands in the background ignore it, and so do their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            url = re.search(r"TensorBoard with the runs of .*: (http://localhost:\d+/)", line)
            assert url, line
            names = [name + part for name in (FIRST_NAME, FOURTH_NAME) for part in ("", "/validation")]
            deadline = time.monotonic() + 60
            while ask(f"{url[1]}data/runs") != names and time.monotonic() < deadline:
                time.sleep(0.2)
            assert ask(f"{url[1]}data/runs") == names
            request = {"startIndex": 0, "sliceSize": 9, "allowedStatuses": ["STATUS_RUNNING", "STATUS_UNKNOWN"]}
            groups = ask(f"{url[1]}data/plugin/hparams/session_groups", request)["sessionGroups"]
            found = {group["name"]: group["hparams"]["learning_rate"] for group in groups}
            assert found == {FIRST_NAME: 0, FOURTH_NAME: 1}
        finally:
            process.send_signal(number)
        assert process.wait(timeout=60) == 0
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("logs")
def test_a_port_that_is_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
        process = subprocess.run(command(tmp_path, port), cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert process.stderr == (
        f"Error: TensorBoard could not bind to port {port}, it was already in use; choose another one with --port.\n"
    )
