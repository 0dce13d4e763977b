"""Processes for trials; test_tuning.py has what the trials do in this process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import tensorflow as tf

from components.trainer.trials import default_parallel, trial_executor

SLEEP_SECONDS = 600
"""Longer than any test."""


@pytest.mark.parametrize(
    ("cores", "gpus", "expected"), [(1, [], 1), (2, [], 1), (3, [], 1), (4, [], 2), (64, [], 4), (8, ["GPU:0"], 1)]
)
def test_each_trial_has_two_cores_by_default(
    monkeypatch: pytest.MonkeyPatch, cores: int, gpus: list[str], expected: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    assert default_parallel() == expected


def test_a_single_trial_runs_in_this_process() -> None:
    with trial_executor(1) as executor:
        assert executor.submit(os.getpid).result() == os.getpid()


@pytest.mark.slow
def test_parallel_trials_share_the_cores() -> None:
    with trial_executor(2) as executor:
        assert executor.submit(os.getpid).result() != os.getpid()
        num_threads = executor.submit(tf.config.threading.get_intra_op_parallelism_threads).result()
    assert num_threads == max(1, (os.cpu_count() or 1) // 2)


@pytest.mark.slow
def test_a_stopped_search_ends_its_trials() -> None:
    with pytest.raises(KeyboardInterrupt), trial_executor(2) as executor:
        pid = executor.submit(os.getpid).result()
        executor.submit(time.sleep, SLEEP_SECONDS)
        raise KeyboardInterrupt
    assert not psutil.pid_exists(pid)


SEARCH = f"""
import os, time
from components.trainer.trials import trial_executor

if __name__ == "__main__":
    with trial_executor(2) as executor:
        print(executor.submit(os.getpid).result(), flush=True)
        executor.submit(time.sleep, {SLEEP_SECONDS})
        time.sleep({SLEEP_SECONDS})
"""


@pytest.mark.slow
def test_trials_end_if_the_search_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "search.py"
    file.write_text(SEARCH)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, file], env=environment, stdout=subprocess.PIPE, text=True) as search:
        assert search.stdout is not None
        trial = psutil.Process(int(search.stdout.readline()))
        search.kill()
    trial.wait(timeout=60)
