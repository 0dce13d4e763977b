"""What every part of the emulator shares: its errors and the form in which Kubeflow Pipelines passes messages."""

import json
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

LOGS_KEY = "executor-logs"
"""Output that the driver adds to every task, and the launcher fills with what the command prints."""

MAX_ARGUMENT_BYTES = 128 * 1024
"""Linux: MAX_ARG_STRLEN, the closing zero byte included."""


class ContractError(Exception):
    """Driver or launcher would end this task; the message is what they would say."""


class NotEmulatedError(NotImplementedError):
    """The compiled pipeline uses something that no step of this pipeline has used so far."""


def to_json(message: Message) -> str:
    """Writes a message as Go's protojson does: camel case, and integral numbers without a fraction."""
    return json.dumps(_integral(json_format.MessageToDict(message)), ensure_ascii=False, separators=(",", ":"))


def check_argument_size(argument: str, what: str) -> None:
    """Refuses an item that Linux would not pass to a process.

    Raises:
        ContractError: It is too long.
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
