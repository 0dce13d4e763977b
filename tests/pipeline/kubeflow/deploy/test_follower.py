import io
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from rich.console import Console

from pipeline.kubeflow.deploy.client import KubeflowError, KubeflowUnreachableError
from pipeline.kubeflow.deploy.follower import FollowedRun, follow_run
from pipeline.local.display import RunDisplay

Json = dict[str, Any]

START = datetime(2026, 1, 2, tzinfo=UTC)
UNREACHABLE = KubeflowUnreachableError("http://kfp: cannot be reached.")


def task(name: str, state: str | None, seconds: float = 0) -> Json:
    # The end of a task that is still running is the beginning of the epoch.
    end = START + timedelta(seconds=seconds) if seconds else datetime(1970, 1, 1, tzinfo=UTC)
    times = {"start_time": START.isoformat(), "end_time": end.isoformat().replace("+00:00", "Z")}
    return {"display_name": name, **times, **({"state": state} if state else {})}


def run(state: str, *tasks: Json) -> Json:
    return {"state": state, **({"run_details": {"task_details": list(tasks)}} if tasks else {})}


def follow(*responses: Any, steps: tuple[str, ...] = ("Trainer",)) -> tuple[FollowedRun, list[str], list[float]]:
    """Returns the result of the run, the printed lines, and the pauses."""
    output, remaining, pauses = io.StringIO(), iter(responses), list[float]()

    def get_run() -> Any:
        response = next(remaining)
        if isinstance(response, Exception):
            raise response
        return response

    display = RunDisplay(Console(file=output, force_terminal=False, width=200))
    with patch("time.sleep", pauses.append):
        followed = follow_run(get_run, steps, display)
    return followed, output.getvalue().splitlines(), pauses


def test_each_step_is_shown_once_when_it_ends() -> None:
    ran = task("Trainer", "SUCCEEDED", 75.5)
    followed, lines, pauses = follow(
        run("PENDING"),
        run("RUNNING", task("Trainer-driver", "RUNNING")),
        run("RUNNING", task("Trainer-driver", "SUCCEEDED", 9), task("Trainer", "RUNNING")),
        run("RUNNING", ran),
        run("SUCCEEDED", ran, task("Evaluator", "SUCCEEDED")),
        steps=("Trainer", "Evaluator"),
    )
    assert lines == ["✓ Trainer              75.5 s", "✓ Evaluator             0.0 s"]
    assert followed == FollowedRun("SUCCEEDED", (), ())
    assert pauses == [5.0] * 4


@pytest.mark.parametrize(
    ("failed", "seconds"),
    [
        ((task("Trainer-driver", "FAILED", 8), task("Trainer", None)), "8.0"),
        ((task("Trainer-driver", "SUCCEEDED", 8), task("Trainer", "FAILED", 9)), "9.0"),
        ((task("Trainer", "CANCELED", 9),), "9.0"),
    ],
)
def test_a_step_or_its_driver_fails(failed: tuple[Json, ...], seconds: str) -> None:
    followed, lines, _ = follow(run("FAILED", *failed), steps=("Trainer", "Evaluator"))
    assert lines == [f"✗ Trainer               {seconds} s  failed", "- Evaluator           not run"]
    assert followed == FollowedRun("FAILED", ("Trainer",), ("Evaluator",))


def test_skipped_and_omitted_steps_are_shown_once() -> None:
    skipped = task("Trainer", "SKIPPED")
    followed, lines, _ = follow(run("RUNNING", skipped), run("SUCCEEDED", skipped), steps=("Trainer", "Pusher"))
    assert lines == ["- Trainer             not run", "- Pusher              not run"]
    assert followed.not_run == ("Trainer", "Pusher")


def test_each_response_restarts_the_time_limit() -> None:
    followed, _, pauses = follow(*[UNREACHABLE] * 100, run("RUNNING"), *[UNREACHABLE] * 100, run("SUCCEEDED"))
    assert (followed.state, len(pauses)) == ("SUCCEEDED", 201)


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        ([UNREACHABLE] * 200, "cannot be reached. No response for 600 s; the run continues."),
        ([run("RUNNING"), KubeflowError("the token is not accepted")], "not accepted"),
    ],
)
def test_a_run_that_can_no_longer_be_read(responses: list[Any], message: str) -> None:
    with pytest.raises(KubeflowError, match=message):
        follow(*responses)
