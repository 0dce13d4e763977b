"""What runs in the fresh process: loads an export as TF Serving does, sends requests, and writes down each event.

It imports TensorFlow and nothing that could register ops or hold variables which an export lacks. Every event is
written at once, a line each: where the export ends or blocks the process, the lines say how far it came.

    python -m components.serving_check.probe PLAN REPORT
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions

from components.serving_check.contract import SIGNATURES
from components.serving_check.exchange import Answer, Kind, Plan, Request, encode_answer, read_plan
from components.serving_check.graph_ops import foreign_ops

Ask = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Sends values to the input of a signature and returns the outputs of the contract."""


def probe(plan: Plan, report: TextIO) -> None:
    """Follows a plan.

    Args:
        plan: What to load and to ask.
        report: Where to write, line-buffered; `read_report` reads it.
    """
    foreign = foreign_ops(plan.ops)
    _write(report, foreign_ops=foreign)
    if foreign:
        return
    answering = _probe_session(plan, report)
    good = [request for request in plan.requests if request.kind == Kind.GOOD and request.signature in answering]
    # What TF Serving must answer is what TensorFlow's own loader for Python answers.
    if good:
        _probe_python(plan.model_path, good, report)


def main(arguments: Sequence[str]) -> None:
    """Follows the plan in the first file and writes the report to the second."""
    plan_file, report_file = arguments
    tf.get_logger().setLevel("ERROR")
    with Path(report_file).open("w", encoding="utf-8", buffering=1) as report:
        probe(read_plan(Path(plan_file)), report)
        _write(report, ended=True)


def _probe_session(plan: Plan, report: TextIO) -> set[str]:
    """Sends all requests to the session-based loader; returns the signatures that answered the good one."""
    answering: set[str] = set()
    _write(report, doing="session-based loader")
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        try:
            meta_graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], plan.model_path)
        # Whatever the loader raises is what there is to say about the export.
        except Exception as error:
            _write(report, load_error=f"{type(error).__name__}: {_first_sentence(error)}")
            return answering
        _write(report, load_error="")
        for signature, requests in groupby(plan.requests, key=lambda request: request.signature):
            for answer in _answers(session, meta_graph.signature_def[signature], list(requests), report):
                _write(report, answer=encode_answer(answer))
                if answer.kind == Kind.GOOD and not answer.error:
                    answering.add(signature)
    return answering


def _answers(
    session: tf.compat.v1.Session, definition: Any, requests: Sequence[Request], report: TextIO
) -> Iterator[Answer]:
    _write(report, doing="connecting", doing_on=requests[0].signature)
    try:
        ask = _asking_session(session, definition, requests[0].signature)
    # A signature without its tensors cannot answer anything.
    except Exception as error:
        yield _failure(requests[0], error)
        return
    for request in requests:
        _write(report, doing=f"{request.kind} {request.name}".strip())
        answer = _answer(ask, request)
        yield answer
        if request.kind == Kind.GOOD and answer.error:
            return


def _asking_session(session: tf.compat.v1.Session, definition: Any, signature: str) -> Ask:
    (feed,) = definition.inputs.values()
    names = list(definition.outputs)
    # TF Serving, too, calculates all outputs where a client asks for none in particular.
    options = CallableOptions(feed=[feed.name], fetch=[definition.outputs[name].name for name in names])
    # Session.run would itself refuse values of the wrong shape; the C++ session below it, TF Serving's, does not.
    fetch = session._make_callable_from_options(options)

    def ask(values: np.ndarray) -> dict[str, np.ndarray]:
        outputs = dict(zip(names, fetch(values), strict=True))
        return {name: outputs[name] for name in SIGNATURES[signature].outputs}

    return ask


def _probe_python(model_path: str, requests: Iterable[Request], report: TextIO) -> None:
    _write(report, doing="Python loader", doing_on="")
    try:
        signatures = tf.saved_model.load(model_path).signatures
    # As above.
    except Exception as error:
        _write(report, python_load_error=f"{type(error).__name__}: {_first_sentence(error)}")
        return
    _write(report, python_load_error="")
    for request in requests:
        _write(report, doing=f"{request.kind} in Python", doing_on=request.signature)
        answer = _answer(_asking_python(signatures, request), request)
        _write(report, python_answer=encode_answer(answer))


def _asking_python(signatures: Mapping[str, Any], request: Request) -> Ask:
    def ask(values: np.ndarray) -> dict[str, np.ndarray]:
        outputs = signatures[request.signature](**{request.input_name: tf.constant(values)})
        return {name: outputs[name].numpy() for name in SIGNATURES[request.signature].outputs}

    return ask


def _answer(ask: Ask, request: Request) -> Answer:
    milliseconds = []
    outputs: dict[str, np.ndarray] = {}
    try:
        for _ in range(request.times):
            start = time.perf_counter()
            outputs = ask(request.values)
            milliseconds.append(1000 * (time.perf_counter() - start))
    # Which errors are right is decided elsewhere.
    except Exception as error:
        return _failure(request, error)
    return Answer(request.signature, request.kind, request.name, outputs, milliseconds=tuple(milliseconds))


def _failure(request: Request, error: Exception) -> Answer:
    return Answer(
        request.signature, request.kind, request.name, error=type(error).__name__, message=_first_sentence(error)
    )


def _first_sentence(error: Exception) -> str:
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    line = next(iter(text.strip().splitlines()), "")
    return line.partition(". ")[0].rstrip(".")


def _write(report: TextIO, **event: object) -> None:
    report.write(json.dumps(event) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
