"""Tells the person at the terminal what is served, a line for each change, and counts it."""

from collections.abc import Callable

from serving.server.messages import VersionState, VersionStatus
from serving.server.metrics import PrometheusObserver

_WORDS = {
    VersionState.LOADING: "is being loaded",
    VersionState.AVAILABLE: "answers",
    VersionState.END: "is gone",
}


class Announcer(PrometheusObserver):
    """An observer that also says which versions come and go."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Keeps where to say it.

        Args:
            say: Gets one line at a time.
        """
        super().__init__()
        self._say = say

    def version_changed(self, model: str, status: VersionStatus) -> None:
        """Says it, where it means something to people."""
        super().version_changed(model, status)
        words = f"failed: {status.error_message}" if status.error_code != "OK" else _WORDS.get(status.state)
        if words:
            self._say(f"{model}: version {status.version} {words}")
