"""Tests an export in a fresh process, because an export may crash or block the process that loads it.

`run_probe` starts the process and exchanges files with it in one folder: a plan and a sample, then a report. The
process writes each event at once, so the report shows its last activity even if it is killed.
"""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions

from components.serving_check import fresh_process
from components.serving_check.requests import Kind, Request, Sample, build_requests
from registry.signatures import ANSWER_OUTPUTS, INPUTS, LABEL_OUTPUT, NORMALIZE, NORMALIZED_IMAGE_OUTPUT

NUM_TIMED_REQUESTS = 100
"""Enough for a 99th percentile that does not depend on one delay of the machine."""

_PLAN_FILE = "plan.json"
_IMAGES_FILE = "images.npy"
_EVENTS_FILE = "events.jsonl"

_PYTHON_CALLBACKS = frozenset({"EagerPyFunc", "PyFunc", "PyFuncStateless"})
"""Core ops that call Python code of the process that built the graph."""

_PACKAGE_ROOT = Path(__file__).parents[2]
_NOISE = re.compile(r"WARNING: All log messages before absl|[IW]\d{4} ")
_FATAL = re.compile(r"F\d{4} .*?\] ")

Ask = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Sends values to the input of a signature and returns the outputs of the contract."""


@dataclass(frozen=True)
class Plan:
    """What the fresh process tests: a SavedModel, the ops that it needs, and its signatures by name."""

    model_path: str
    ops: Sequence[str]
    signatures: Sequence[str]
    huge_batch: int


@dataclass(frozen=True)
class Answer:
    """The answer to the request of a signature, kind and name.

    Attributes:
        num_images: Number of images in the request.
        outputs: Outputs of the contract by name, strings as bytes; empty after an error. Of image files, only the
            label.
        error: Class and message, such as `InvalidArgumentError: wrong shape`; empty without an error.
        milliseconds: Duration of each repetition.
    """

    signature: str
    kind: Kind
    name: str = ""
    num_images: int = 0
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    error: str = ""
    milliseconds: Sequence[float] = ()


@dataclass(frozen=True)
class Report:
    """What the fresh process found until it ended.

    Attributes:
        foreign_ops: Ops that TF Serving does not have; None if the process ended before.
        load_error: Error of the session-based loader; empty if it loaded, None if the process ended before.
        python_load_error: The same of the Python loader.
        answers: Answers to the requests, in their order.
        doing: Its last activity.
        doing_on: The signature in its last activity, if any.
        ended: Whether it finished.
        failure: Why it did not finish.
    """

    foreign_ops: Sequence[str] | None = None
    load_error: str | None = None
    python_load_error: str | None = None
    answers: Sequence[Answer] = ()
    doing: str = "starting"
    doing_on: str = ""
    ended: bool = False
    failure: str = ""


def run_probe(plan: Plan, sample: Sample, timeout_s: float, log_file: Path) -> Report:
    """Tests an export in a fresh process.

    Args:
        plan: What to test.
        sample: What to test it with.
        timeout_s: Seconds after which the process is killed.
        log_file: Where to write the output of the process.

    Returns:
        What the process found; `failure` is not empty if it crashed or was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_plan(plan, sample, Path(folder))
        # -P: do not import a package `components` of the working directory.
        failure = _run([sys.executable, "-P", "-m", fresh_process.__name__, folder], timeout_s, log_file)
        report = read_report(Path(folder))
    # A graph can end its process without an error.
    return replace(report, failure=failure or ("" if report.ended else "it ended before it was done"))


def write_plan(plan: Plan, sample: Sample, folder: Path) -> None:
    """Writes a plan and a sample for `probe`."""
    sent = {"example_files": sample.example_files, "num_sent": sample.num_sent}
    (folder / _PLAN_FILE).write_text(json.dumps({"plan": asdict(plan), "sent": sent}), encoding="utf-8")
    np.save(folder / _IMAGES_FILE, sample.images)


def read_report(folder: Path) -> Report:
    """Reads the events that `probe` wrote, even if it was killed or has not started."""
    file = folder / _EVENTS_FILE
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    fields: dict[str, Any] = {}
    answers = []
    # A killed process may leave an incomplete last line.
    for line in filter(lambda line: line.endswith("\n"), lines):
        event = json.loads(line)
        if "outputs" in event:
            with np.load(folder / event["outputs"]) as outputs:
                answers.append(Answer(**{**event, "kind": Kind(event["kind"]), "outputs": dict(outputs)}))
        else:
            fields |= event
    return Report(**fields, answers=answers)


def probe(folder: Path) -> None:
    """Tests an export; runs in the fresh process.

    Args:
        folder: Where `write_plan` wrote, and where to write the report.
    """
    written = json.loads((folder / _PLAN_FILE).read_text(encoding="utf-8"))
    plan, sample = Plan(**written["plan"]), Sample(np.load(folder / _IMAGES_FILE), **written["sent"])
    report = _ReportWriter(folder)
    foreign = foreign_ops(plan.ops)
    report.write(foreign_ops=foreign)
    if not foreign:
        answered = _probe_session(plan, sample, report)
        if answered:
            _probe_python(plan.model_path, answered, report)
    report.write(ended=True)


def foreign_ops(ops: Iterable[str]) -> list[str]:
    """Returns the ops that TF Serving does not have: unregistered ones and those that call Python, sorted.

    Call it in a process that has imported only TensorFlow: other libraries, such as TFX's, register ops of their own.
    """
    return sorted(op for op in ops if op in _PYTHON_CALLBACKS or not hasattr(tf.raw_ops, op))


class _ReportWriter:
    """Writes an event per line, and the outputs of each answer to a file of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events = (folder / _EVENTS_FILE).open("w", encoding="utf-8", buffering=1)
        self._num_answers = 0

    def write(self, **event: object) -> None:
        self._events.write(json.dumps(event) + "\n")

    def write_answer(self, answer: Answer) -> None:
        file = f"{self._num_answers}.npz"
        self._num_answers += 1
        np.savez(self._folder / file, **answer.outputs)  # type: ignore[arg-type]
        self.write(**{**vars(answer), "outputs": file})


def _probe_session(plan: Plan, sample: Sample, report: _ReportWriter) -> list[Request]:
    """Sends the requests to each signature with the loader of TF Serving; returns the good ones that were answered."""
    report.write(doing="session-based loader")
    # Not the options of eager execution.
    config = tf.compat.v1.ConfigProto()
    with closing(tf.compat.v1.Session(graph=tf.Graph(), config=config)) as session:
        try:
            # Later, building requests needs eager execution, which a default graph ends.
            with session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], plan.model_path)
        # Any exception of a loader or a signature is a result of the test.
        except Exception as error:
            report.write(load_error=_describe(error))
            return []
        report.write(load_error="")
        answered = []
        for signature in plan.signatures:
            ask = _session_ask(session, meta_graph, signature)
            requests = build_requests(signature, sample, plan.huge_batch)
            good = next(requests)
            if _probe_signature(ask, chain([good], requests), report):
                answered.append(good)
        return answered


def _probe_signature(ask: Ask, requests: Iterable[Request], report: _ReportWriter) -> bool:
    for request in requests:
        report.write(doing=f"{request.kind} {request.name}".strip(), doing_on=request.signature)
        answer = _send(ask, request)
        if request.kind == Kind.SENT and answer.error:
            # A request may exceed a limit because of a single image.
            for value in np.split(request.values, len(request.values)):
                report.write_answer(_send(ask, replace(request, values=value)))
            continue
        report.write_answer(answer)
        if request.kind == Kind.GOOD and answer.error:
            return False
    return True


def _session_ask(session: tf.compat.v1.Session, meta_graph: Any, signature: str) -> Ask:
    definition = meta_graph.signature_def[signature]
    (feed,) = definition.inputs.values()
    # TF Serving computes all outputs, too, unless a client names some.
    names = list(definition.outputs)
    options = CallableOptions(feed=[feed.name], fetch=[definition.outputs[name].name for name in names])
    # Session.run itself would refuse a wrong shape; the C++ session below, which TF Serving uses, does not.
    make_fetch = functools.cache(lambda: session._make_callable_from_options(options))

    def ask(values: np.ndarray) -> dict[str, np.ndarray]:
        outputs = dict(zip(names, make_fetch()(values), strict=True))
        return {name: outputs[name] for name in _outputs(signature)}

    return ask


def _probe_python(model_path: str, good_requests: Iterable[Request], report: _ReportWriter) -> None:
    """Sends the good requests to TensorFlow's loader for Python, whose outputs TF Serving must reproduce."""
    report.write(doing="Python loader", doing_on="")
    try:
        functions = tf.saved_model.load(model_path).signatures
    except Exception as error:
        report.write(python_load_error=_describe(error))
        return
    report.write(python_load_error="")
    for request in good_requests:
        ask = _python_ask(functions[request.signature], request.signature)
        _probe_signature(ask, [replace(request, kind=Kind.PYTHON)], report)


def _python_ask(function: Any, signature: str) -> Ask:
    def ask(values: np.ndarray) -> dict[str, np.ndarray]:
        outputs = function(**{INPUTS[signature]: tf.constant(values)})
        return {name: outputs[name].numpy() for name in _outputs(signature)}

    return ask


def _outputs(signature: str) -> Sequence[str]:
    return (NORMALIZED_IMAGE_OUTPUT,) if signature == NORMALIZE else ANSWER_OUTPUTS


def _send(ask: Ask, request: Request) -> Answer:
    answer = Answer(request.signature, request.kind, request.name, num_images=len(request.values))
    milliseconds = []
    outputs: dict[str, np.ndarray] = {}
    try:
        for _ in range(NUM_TIMED_REQUESTS if request.kind == Kind.LATENCY else 1):
            start = time.perf_counter()
            outputs = ask(request.values)
            milliseconds.append(1000 * (time.perf_counter() - start))
    except Exception as error:
        return replace(answer, error=_describe(error))
    if request.kind == Kind.SENT:
        outputs = {LABEL_OUTPUT: outputs[LABEL_OUTPUT]}
    arrays = {name: np.asarray(values) for name, values in outputs.items()}
    # Arrays of objects would need pickle.
    plain = {name: values.astype("S") if values.dtype == object else values for name, values in arrays.items()}
    return replace(answer, outputs=plain, milliseconds=milliseconds)


def _describe(error: Exception) -> str:
    """Returns the class and the first sentence of an error."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    line = next(iter(text.strip().splitlines()), "")
    return f"{type(error).__name__}: {line.partition('. ')[0].rstrip('.')}"


def _run(command: list[str], timeout_s: float, log_file: Path) -> str:
    """Returns why a process failed; empty if it did not."""
    python_path = [str(_PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(python_path),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # A GPU may be full, and rounds differently.
        "CUDA_VISIBLE_DEVICES": "",
    }
    with log_file.open("wb") as log:
        try:
            code = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=timeout_s,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return f"it was killed after {timeout_s:g} s, serving_check.timeout_s"
    if code == 0:
        return ""
    cause = f"exited with code {code}" if code > 0 else f"was ended by signal {-code} ({signal.strsignal(-code)})"
    words = last_words(log_file.read_text(encoding="utf-8", errors="replace"))
    return f"it {cause}" + (f": {words}" if words else "")


def last_words(log: str) -> str:
    """Returns the line of a process's output that best explains its end: the last fatal error, or the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not _NOISE.match(line)]
    fatal = [_FATAL.sub("", line) for line in lines if _FATAL.match(line)]
    return (fatal or lines or [""])[-1]
