"""What happens in a run, step by step, for whoever wants to show it."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

_TFX_LOGGER = "absl"
_OUR_LOGGER = "components"


class Listener(Protocol):
    """Whoever wants to know how a run goes on."""

    def step_started(self, name: str) -> None:
        """A step begins."""

    def step_finished(self, name: str, seconds: float, *, cached: bool) -> None:
        """A step ended well after so many seconds, or its result was there already."""

    def progressed(self, text: str, *, passing: bool) -> None:
        """The step says how far it is; `passing` texts are soon replaced by another."""


class StepObserver:
    """Turns what TFX's launcher logs about steps into calls of the listener.

    LocalDagRunner has no hooks; its log is the only place where it says which step begins and ends.
    """

    def __init__(self, listener: Listener) -> None:
        """Tells `listener`."""
        self._listener = listener
        self._started = 0.0
        self._cached = False
        self._skipped = False
        self.current_step: str | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Reports the body of the `with` statement as a step."""
        self._start(name)
        yield
        self._finish()

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Listens to TFX and to our own steps while the body of the `with` statement runs."""
        from absl import logging as absl_logging

        handlers = {_TFX_LOGGER: _Handler(self._on_tfx_record), _OUR_LOGGER: _Handler(self._on_our_record)}
        # Through absl: it would take a level set behind its back away again in the middle of a run.
        absl_logging.set_verbosity(absl_logging.INFO)
        logging.getLogger(_OUR_LOGGER).setLevel(logging.DEBUG)
        for name, handler in handlers.items():
            logging.getLogger(name).addHandler(handler)
        try:
            yield
        finally:
            for name, handler in handlers.items():
                logging.getLogger(name).removeHandler(handler)

    def _on_tfx_record(self, record: logging.LogRecord) -> None:
        if record.msg == "Component %s is running." and isinstance(record.args, tuple):
            self._start(str(record.args[0]))
        elif record.msg == "A cached execution %d is used.":
            self._cached = True
        elif record.msg == "Skipping execution for %s":
            self._skipped = True
        elif record.msg == "Component %s is finished." and not self._skipped:
            self._finish()

    def _on_our_record(self, record: logging.LogRecord) -> None:
        self._listener.progressed(record.getMessage(), passing=record.levelno < logging.INFO)

    def _start(self, name: str) -> None:
        self.current_step, self._cached, self._skipped, self._started = name, False, False, time.monotonic()
        self._listener.step_started(name)

    def _finish(self) -> None:
        name, self.current_step = self.current_step, None
        self._listener.step_finished(str(name), time.monotonic() - self._started, cached=self._cached)


class _Handler(logging.Handler):
    """Passes every record to a function."""

    def __init__(self, receive: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._receive = receive

    def emit(self, record: logging.LogRecord) -> None:
        self._receive(record)
