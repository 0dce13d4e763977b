"""What runs in the fresh process: loads an export as TF Serving does, sends requests, and writes down each event.

It imports TensorFlow and nothing that could register ops or hold variables which an export lacks. Every event is
written at once, a line each: where the export ends or blocks the process, the lines say how far it came.

    python -m components.serving_check.probe PLAN REPORT
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.config_pb2 import CallableOptions

from components.serving_check.exchange import Answer, Kind, Plan, Request, encode_answer, read_plan
from components.serving_check.graph_ops import foreign_ops

Ask = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Sends values to the input of a signature and returns its outputs."""


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
    _write(report, doing="loading")
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        try:
            meta_graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], plan.model_path)
        # Whatever the loader raises is what there is to say about the export.
        except Exception as error:
            _write(report, load_error=f"{type(error).__name__}: {_first_sentence(error)}")
            return
        _write(report, load_error="")
        for signature, requests in groupby(plan.requests, key=lambda request: request.signature):
            ask = _asking(session, meta_graph.signature_def[signature])
            for answer in _answers(ask, list(requests), report):
                _write(report, answer=encode_answer(answer))


def main(arguments: Sequence[str]) -> None:
    """Follows the plan in the first file and writes the report to the second."""
    plan_file, report_file = arguments
    tf.get_logger().setLevel("ERROR")
    with Path(report_file).open("w", encoding="utf-8", buffering=1) as report:
        probe(read_plan(Path(plan_file)), report)
        _write(report, ended=True)


def _asking(session: tf.compat.v1.Session, signature: Any) -> Ask:
    (feed,) = signature.inputs.values()
    names = list(signature.outputs)
    options = CallableOptions(feed=[feed.name], fetch=[signature.outputs[name].name for name in names])
    # Session.run would itself refuse values of the wrong shape; the C++ session below it, TF Serving's, does not.
    fetch = session._make_callable_from_options(options)
    return lambda values: dict(zip(names, fetch(values), strict=True))


def _answers(ask: Ask, requests: Sequence[Request], report: TextIO) -> Iterator[Answer]:
    for request in requests:
        _write(report, doing=f"{request.kind} {request.name}".strip(), doing_on=request.signature)
        answer = _answer(ask, request)
        yield answer
        if request.kind == Kind.GOOD and answer.error:
            return


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
        return Answer(
            request.signature, request.kind, request.name, error=type(error).__name__, message=_first_sentence(error)
        )
    return Answer(request.signature, request.kind, request.name, outputs, milliseconds=tuple(milliseconds))


def _first_sentence(error: Exception) -> str:
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    line = next(iter(text.strip().splitlines()), "")
    return line.partition(". ")[0].rstrip(".")


def _write(report: TextIO, **event: object) -> None:
    report.write(json.dumps(event) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
