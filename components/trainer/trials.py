"""The trainings of a search for hyperparameters: one at a time, or several in processes that share the cores.

KerasTuner's own distribution needs one more process, which waits forever for a worker that has died.
"""

import functools
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from components.features import Contract
from components.schema import parse_contract
from components.trainer.datasets import read_examples
from components.trainer.hyperparameters import Hyperparameters
from components.trainer.signatures import fit_temperature, log_loss
from components.trainer.training import predict_logits, train_model
from registry.errors import ExpectedError

LOSS, ACCURACY, SECONDS, PARAMETERS = "eval_loss", "eval_accuracy", "seconds", "parameters"

_CORES_PER_TRIAL = 2
_MAX_PARALLEL = 4
"""By default; the results of earlier trials guide the search, and each process needs memory."""


@dataclass(frozen=True)
class TrialData:
    """What trials read; see `tfx.components.trainer.fn_args_utils.FnArgs`.

    Attributes:
        max_images: Images of train that a trial uses; None for all.
    """

    train_files: tuple[str, ...]
    eval_files: tuple[str, ...]
    schema_path: str
    transform_graph_path: str
    max_images: int | None


class TrialError(ExpectedError):
    """A trial failed; the message names the error."""


def run_trial(data: TrialData, hyperparameters: Hyperparameters, folder: Path) -> dict[str, float] | None:
    """Trains a model, without exporting it, and measures it on eval.

    Args:
        data: The data.
        hyperparameters: Those of the trial.
        folder: Folder of the TensorBoard logs.

    Returns:
        What was measured, by name; None if training diverged.

    Raises:
        ExpectedError: There was another error. Some of TensorFlow's errors cannot be sent to another process.
    """
    started = time.monotonic()
    try:
        train, evaluation, contract = _read(data)
        # Keras keeps what earlier models have created.
        keras.utils.clear_session()
        model = train_model(train, evaluation, contract, hyperparameters, folder)
        logits, labels = predict_logits(model, evaluation)
    except ExpectedError:
        raise
    except Exception as error:
        raise TrialError(f"{type(error).__name__}: {error}") from error
    if not np.isfinite(logits).all():
        return None
    return {
        LOSS: log_loss(logits / fit_temperature(logits, labels), labels),
        ACCURACY: float((logits.argmax(axis=-1) == labels).mean()),
        SECONDS: time.monotonic() - started,
        PARAMETERS: model.count_params(),
    }


@functools.lru_cache(maxsize=1)
def _read(data: TrialData) -> tuple[tf.data.Dataset, tf.data.Dataset, Contract]:
    """Returns train, evaluation and their contract; the trials of a process share the decoded images."""
    with tf.io.gfile.GFile(data.schema_path) as file:
        contract = parse_contract(file.read(), data.schema_path)
    transform = tft.TFTransformOutput(data.transform_graph_path)
    train = read_examples(data.train_files, transform)
    if data.max_images:
        train = train.take(data.max_images)
    return train, read_examples(data.eval_files, transform), contract


def default_parallel() -> int:
    """Returns how many trials run at a time by default, so that each has two cores; one if there are GPUs."""
    if tf.config.list_physical_devices("GPU"):
        return 1
    return max(1, min((os.cpu_count() or 1) // _CORES_PER_TRIAL, _MAX_PARALLEL))


@contextmanager
def trial_executor(parallel: int) -> Iterator[Executor]:
    """Runs trials in this process if they run one at a time, else in as many processes.

    If the body of the `with` statement raises an error, or this process is killed, the processes end at once.
    """
    if parallel == 1:
        yield _ThisProcess()
        return
    others = set(multiprocessing.active_children())
    # TensorFlow cannot be forked.
    context = multiprocessing.get_context("spawn")
    num_threads = max(1, (os.cpu_count() or 1) // parallel)
    with ProcessPoolExecutor(parallel, context, _prepare_process, (num_threads,)) as pool:
        try:
            yield pool
        except BaseException:
            # The pool would wait for the trials that run.
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise


class _ThisProcess(Executor):
    """Runs a call when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def _prepare_process(num_threads: int) -> None:
    # The process that searches handles Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tf.config.threading.set_intra_op_parallelism_threads(num_threads)
    tf.config.threading.set_inter_op_parallelism_threads(num_threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(name)s: %(message)s")


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
        os._exit(1)
