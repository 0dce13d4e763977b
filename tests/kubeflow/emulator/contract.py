"""Defines the errors of the emulator and the format of the messages of Kubeflow Pipelines."""

import json
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

LOGS_KEY = "executor-logs"
"""The output that the driver adds to every task; the launcher writes the output of the command to it."""

MAX_ARGUMENT_BYTES = 128 * 1024
"""Linux: MAX_ARG_STRLEN, including the final zero byte."""


class ContractError(Exception):
    """The driver or the launcher would fail with this message."""


class NotEmulatedError(NotImplementedError):
    """The compiled pipeline uses a feature that no step of our pipeline used so far."""


def to_json(message: Message) -> str:
    """Returns a message as Go's protojson writes it: camel case, and whole numbers without a fraction."""
    return json.dumps(_integral(json_format.MessageToDict(message)), ensure_ascii=False, separators=(",", ":"))


def check_argument_size(argument: str, what: str) -> None:
    """Checks the size of an argument.

    Raises:
        ContractError: Linux would not pass it to a process.
    """
    size = len(argument.encode()) + 1
    if size > MAX_ARGUMENT_BYTES:
        raise ContractError(f"{what}: argument list too long: {size} bytes in one item, at most {MAX_ARGUMENT_BYTES}")


def _integral(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _integral(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_integral(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
