"""What a run on Kubeflow Pipelines looks like on the way, from the task details that its API server has of Argo."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kfp_server_api import PipelineTaskDetailChildTask, V2beta1PipelineTaskDetail, V2beta1Run, V2beta1RunDetails
from rich.console import Console

from pipeline.kubeflow.deploy.errors import KubeflowError, KubeflowUnreachableError
from pipeline.kubeflow.deploy.follower import FollowedRun, follow_run
from pipeline.local.display import RunDisplay

START = datetime(2026, 1, 2, tzinfo=UTC)


def task(name: str, state: str | None, seconds: float = 0, children: tuple[str, ...] = ()) -> Any:
    # A time that is not there yet is the beginning of the epoch.
    end = START + timedelta(seconds=seconds) if seconds else datetime(1970, 1, 1, tzinfo=UTC)
    child_tasks = [PipelineTaskDetailChildTask(pod_name=child) for child in children]
    return V2beta1PipelineTaskDetail(
        display_name=name, state=state, start_time=START, end_time=end, child_tasks=child_tasks or None
    )


def run(state: str, *tasks: Any) -> Any:
    return V2beta1Run(state=state, run_details=V2beta1RunDetails(task_details=list(tasks)) if tasks else None)


def follow(*looks: Any, steps: tuple[str, ...] = ("Trainer",)) -> tuple[FollowedRun, list[str], list[float]]:
    """Returns how the run has ended, the lines that were shown, and the waits."""
    output, answers, waits = io.StringIO(), iter(looks), list[float]()

    def get_run() -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    display = RunDisplay(Console(file=output, force_terminal=False, width=200))
    followed = follow_run(get_run, steps, display, sleep=waits.append)
    return followed, output.getvalue().splitlines(), waits


def test_steps_are_shown_once_when_they_end() -> None:
    ran = task("Trainer", "SUCCEEDED", 75.5)
    followed, lines, waits = follow(
        run("PENDING"),
        run("RUNNING", task("Trainer-driver", "RUNNING")),
        run("RUNNING", task("Trainer-driver", "SUCCEEDED", 9), task("Trainer", "RUNNING")),
        run("RUNNING", ran),
        run("SUCCEEDED", ran, task("Evaluator", "SUCCEEDED", 1)),
        steps=("Trainer", "Evaluator"),
    )
    assert lines == ["✓ Trainer              75.5 s", "= Evaluator           cached"]
    assert followed == FollowedRun("SUCCEEDED", (), ())
    assert waits == [5.0] * 4


def test_the_driver_of_a_step_fails() -> None:
    followed, lines, _ = follow(
        run("FAILED", task("Trainer-driver", "FAILED", 8), task("Trainer", None)), steps=("Trainer", "Evaluator")
    )
    assert lines == ["✗ Trainer               8.0 s  failed", "- Evaluator           not run"]
    assert followed == FollowedRun("FAILED", ("Trainer",), ("Evaluator",))


def test_what_is_skipped_or_omitted_is_shown_once() -> None:
    skipped = task("Trainer", "SKIPPED")
    followed, lines, _ = follow(run("RUNNING", skipped), run("SUCCEEDED", skipped), steps=("Trainer", "Pusher"))
    assert lines == ["- Trainer             not run", "- Pusher              not run"]
    assert followed.not_run == ("Trainer", "Pusher")


def test_retries_are_told_of() -> None:
    # Ids of the nodes digits-x7b2k.root.Trainer.executor(0), (1) and (2), and .root.Evaluator.executor(0), by Argo's
    # NodeID: the workflow, and FNV-1a of the name as decimal number.
    first, second, third, other = (f"digits-x7b2k-{number}" for number in (3681120559, 3211494322, 929988401, 5701387))
    attempts = [(first, other), (first, second, other), (first, second, third, other)]
    running = [
        run("RUNNING", task("Trainer", "RUNNING"), task("Evaluator", "RUNNING"), task("executor", "RUNNING", 0, each))
        for each in attempts
    ]
    _, lines, _ = follow(
        *(look for look in running for _ in range(2)),
        run("SUCCEEDED", task("Trainer", "SUCCEEDED", 60), task("Evaluator", "SUCCEEDED", 60)),
        steps=("Trainer", "Evaluator"),
    )
    assert lines == [
        "    Trainer: attempt 1 failed, it is tried again",
        "    Trainer: attempt 2 failed, it is tried again",
        "✓ Trainer              60.0 s",
        "✓ Evaluator            60.0 s",
    ]


def test_nobody_answers_for_a_while() -> None:
    silence = KubeflowUnreachableError("http://kfp: cannot be reached.")
    followed, _, waits = follow(silence, silence, run("RUNNING"), silence, run("SUCCEEDED"))
    assert (followed.state, len(waits)) == ("SUCCEEDED", 4)


def test_the_patience_begins_anew_with_each_answer() -> None:
    silence = [KubeflowUnreachableError("http://kfp: cannot be reached.")] * 100
    followed, _, _ = follow(*silence, run("RUNNING"), *silence, run("SUCCEEDED"))
    assert followed.state == "SUCCEEDED"


def test_nobody_answers_any_more() -> None:
    silence = KubeflowUnreachableError("http://kfp: cannot be reached.")
    with pytest.raises(KubeflowError, match="cannot be reached. Nobody has answered for 600 s; the run goes on."):
        follow(*[silence] * 200)


def test_a_refusal_is_not_waited_out() -> None:
    with pytest.raises(KubeflowError, match="not accepted"):
        follow(run("RUNNING"), KubeflowError("the token is not accepted"))
