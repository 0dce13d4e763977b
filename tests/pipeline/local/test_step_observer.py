import logging

from pipeline.local.step_observer import StepObserver


class Recorder:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def step_started(self, name: str) -> None:
        self.heard.append(("started", name))

    def step_finished(self, name: str, seconds: float, *, cached: bool) -> None:
        assert seconds >= 0
        self.heard.append(("finished", name, cached))

    def progressed(self, text: str, *, passing: bool) -> None:
        self.heard.append(("progressed", text, passing))


def test_the_launchers_log_becomes_steps() -> None:
    recorder = Recorder()
    observer = StepObserver(recorder)
    tfx, ours = logging.getLogger("absl"), logging.getLogger("components.trainer.progress")
    with observer.observing():
        tfx.info("Component %s is running.", "Trainer")
        ours.debug("epoch 1/2, 50 %")
        ours.info("epoch 1/2: loss")
        assert observer.current_step == "Trainer"
        tfx.info("Component %s is finished.", "Trainer")
        tfx.info("Component %s is running.", "Pusher")
        tfx.info("A cached execution %d is used.", 3)
        tfx.info("Component %s is finished.", "Pusher")
        tfx.info("Component %s is running.", "Evaluator")
        tfx.info("Skipping execution for %s", "Evaluator")
        tfx.info("Component %s is finished.", "Evaluator")
    tfx.info("Component %s is running.", "AfterTheRun")
    assert recorder.heard == [
        ("started", "Trainer"),
        ("progressed", "epoch 1/2, 50 %", True),
        ("progressed", "epoch 1/2: loss", False),
        ("finished", "Trainer", False),
        ("started", "Pusher"),
        ("finished", "Pusher", True),
        ("started", "Evaluator"),
    ]
