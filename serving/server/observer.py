"""What the model server tells of itself to whoever counts it."""

from dataclasses import dataclass
from typing import Protocol

from serving.server.errors import ErrorCode
from serving.server.messages import Api, VersionStatus


@dataclass(frozen=True)
class FinishedRequest:
    """A request that has come to its end.

    Attributes:
        model: Name that was asked for; empty where no model has it, so that clients cannot make up names.
        version: Number of the version that answered, or None if none did.
        signature: Name of the signature; empty where the model has none of the name.
        api: How it came.
        error: Why it was not answered; None if it was.
        seconds: From the call of `ModelServer.predict` to its end, waiting included.
        batch_size: How many images were sent; zero if that is unknown.
    """

    model: str
    version: int | None
    signature: str
    api: Api
    error: ErrorCode | None
    seconds: float
    batch_size: int


class Observer(Protocol):
    """Called in the event loop; must be quick, and must not fail."""

    def request_finished(self, request: FinishedRequest) -> None:
        """Takes note of a request that was answered or refused."""

    def version_changed(self, model: str, status: VersionStatus) -> None:
        """Takes note of a version that has come to another state."""


class SilentObserver:
    """Takes note of nothing."""

    def request_finished(self, request: FinishedRequest) -> None:
        """Does nothing."""

    def version_changed(self, model: str, status: VersionStatus) -> None:
        """Does nothing."""
