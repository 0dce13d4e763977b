"""Options, limits and errors that the modules of the server share."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import grpc
import numpy as np

from registry.signatures import MAX_BATCH
from registry.signing import TrustPolicy

Tensors: TypeAlias = Mapping[str, np.ndarray]
"""Arrays by input or output name. Strings are `bytes` objects, because NumPy's own strings lose trailing zeros."""

LARGE_REQUEST_BYTES = 256 * 1024
"""A larger request is parsed in a thread, because it would block the event loop for too long."""

LARGE_ANSWER_VALUES = 16 * 1024
"""For the same reason, an answer with more values, such as 256 images of 32 classes, is written in a thread."""

MAX_RANK = 32
"""Maximum number of dimensions of a tensor; NumPy cannot iterate over more."""

RETRY_SECONDS = 1
"""Time after which a client may repeat a request that the server refused because it was busy."""

_MEBIBYTE = 1024 * 1024


class ServingError(Exception):
    """A refused request.

    Attributes:
        code: TF Serving's canonical code.
        message: Text for the client.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> ServingError:
    """Returns the error for a malformed request."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def exhausted(message: str) -> ServingError:
    """Returns the error for a request that the server refuses because it is busy."""
    return ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


@dataclass(frozen=True)
class ServerOptions:
    """What to serve, and the server's limits.

    Attributes:
        serving_root: Folder with one folder per model, which has one folder per version.
        trust_policy: Which versions may be loaded.
        max_batch_size: Maximum number of images per request.
        max_body_bytes: Maximum size of a request.
        max_bytes_in_flight: Maximum size of all requests in progress; at least `max_body_bytes`.
        max_connections: Maximum number of open connections of each API.
        max_concurrency: Maximum number of concurrent model calls; the number of cores by default.
        max_queue: Maximum number of requests that wait for a model call.
        request_timeout_seconds: Time after which a request fails with DEADLINE_EXCEEDED.
        poll_seconds: Time between two checks for new versions.
        grace_seconds: How long a stopping server waits for running requests.
        allowed_hosts: Host names and addresses that HTTP requests may name, besides loopback and the one that the
            server listens on. Pages from these hosts may use the API of this server, and its page may use theirs.
    """

    serving_root: Path
    trust_policy: TrustPolicy = field(default_factory=TrustPolicy)
    max_batch_size: int = max(MAX_BATCH.values())
    max_body_bytes: int = 64 * _MEBIBYTE
    max_bytes_in_flight: int = 256 * _MEBIBYTE
    # Both APIs fit into the usual limit of 1,024 open files.
    max_connections: int = 400
    max_concurrency: int = field(default_factory=lambda: os.cpu_count() or 1)
    max_queue: int = 256
    request_timeout_seconds: float = 30.0
    poll_seconds: float = 1.0
    grace_seconds: float = 10.0
    allowed_hosts: frozenset[str] = frozenset()
