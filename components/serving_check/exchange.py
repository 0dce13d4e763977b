"""What the step and the fresh process tell each other, and the files in which they do: JSON, tensors as protos."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

_ANSWERS = ("answer", "python_answer")
"""Events that come once for each request; of all others the last counts."""


class Kind(StrEnum):
    """What a request is to show."""

    GOOD = "good request"
    ALONE = "one image alone"
    EMPTY = "empty batch"
    HUGE = "huge batch"
    MALFORMED = "malformed request"
    AFTERWARDS = "good request after a malformed one"
    LATENCY = "latency"


@dataclass(frozen=True)
class Request:
    """One request to a signature.

    Attributes:
        signature: Which one.
        kind: What the request is to show.
        input_name: Name of the input.
        values: What is put in; bytes as an array of objects.
        name: What is special about it, where there are several of its kind.
        times: How often it is sent.
    """

    signature: str
    kind: Kind
    input_name: str
    values: np.ndarray
    name: str = ""
    times: int = 1


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        signature: Signature of the request.
        kind: Kind of the request.
        name: Name of the request.
        outputs: The outputs of the contract by name; empty where it was an error.
        error: Class of the error, such as `InvalidArgumentError`; empty where there was none.
        message: What the error says.
        milliseconds: How long each sending took.
    """

    signature: str
    kind: Kind
    name: str
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    error: str = ""
    message: str = ""
    milliseconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What the fresh process is to do: look at the ops, load the export, send the requests in their order.

    The good requests that were answered it then sends to the Python loader, too.
    """

    model_path: str
    ops: tuple[str, ...]
    requests: tuple[Request, ...]


@dataclass(frozen=True)
class Report:
    """How far the fresh process came.

    Attributes:
        foreign_ops: Ops that TF Serving does not have; None before it has looked.
        load_error: What the session-based loader said; empty where it loaded, None before.
        answers: To the requests sent so far.
        python_load_error: What the Python loader said; empty where it loaded, None before.
        python_answers: What its signatures answered to those good requests that the session answered.
        doing: What it began last.
        doing_on: The signature to which it did that; empty where it was none.
        ended: Whether it came to the end of the plan, or to a reason to stop.
        failure: How the process ended, where that was not as it should; empty otherwise.
    """

    foreign_ops: tuple[str, ...] | None = None
    load_error: str | None = None
    answers: tuple[Answer, ...] = ()
    python_load_error: str | None = None
    python_answers: tuple[Answer, ...] = ()
    doing: str = "starting"
    doing_on: str = ""
    ended: bool = False
    failure: str = ""


def write_plan(plan: Plan, file: Path) -> None:
    """Writes a plan for the fresh process."""
    requests = [{**vars(request), "values": _encode(request.values)} for request in plan.requests]
    file.write_text(json.dumps({**vars(plan), "requests": requests}), encoding="utf-8")


def read_plan(file: Path) -> Plan:
    """Reads what `write_plan` wrote."""
    content = json.loads(file.read_text(encoding="utf-8"))
    requests = (
        Request(**{**request, "kind": Kind(request["kind"]), "values": _decode(request["values"])})
        for request in content["requests"]
    )
    return Plan(content["model_path"], tuple(content["ops"]), tuple(requests))


def encode_answer(answer: Answer) -> dict[str, Any]:
    """Returns an answer as JSON can hold it."""
    return {**vars(answer), "outputs": {name: _encode(values) for name, values in answer.outputs.items()}}


def read_report(file: Path) -> Report:
    """Reads the events that the fresh process wrote, a line each, also where it could not write the last.

    Args:
        file: Where it wrote; it need not be there.
    """
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    # Of a process that was killed the last line may be half written.
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    fields: dict[str, Any] = {}
    for event in events:
        fields.update({key: value for key, value in event.items() if key not in _ANSWERS})
    if "foreign_ops" in fields:
        fields["foreign_ops"] = tuple(fields["foreign_ops"])
    for key in _ANSWERS:
        fields[f"{key}s"] = tuple(_decode_answer(event[key]) for event in events if key in event)
    return Report(**fields)


def _decode_answer(content: Mapping[str, Any]) -> Answer:
    outputs = {name: _decode(values) for name, values in content["outputs"].items()}
    milliseconds = tuple(content["milliseconds"])
    return Answer(**{**content, "kind": Kind(content["kind"]), "outputs": outputs, "milliseconds": milliseconds})


def _encode(values: np.ndarray) -> str:
    return base64.b64encode(tf.make_tensor_proto(values).SerializeToString()).decode("ascii")


def _decode(text: str) -> np.ndarray:
    return tf.make_ndarray(TensorProto.FromString(base64.b64decode(text)))
