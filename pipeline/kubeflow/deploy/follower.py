"""Follows a run on Kubeflow Pipelines and displays it like a local run."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pipeline.kubeflow.deploy.client import KubeflowError, KubeflowUnreachableError
from pipeline.local.display import RunDisplay, StepEnd

_POLL_SECONDS = 5.0
_MAX_SILENCE_SECONDS = 600.0
"""How long the server may be unreachable: port forwards break, API servers restart."""
_ENDED: dict[str, StepEnd] = {"SUCCEEDED": "ran", "FAILED": "failed", "CANCELED": "failed", "SKIPPED": "not run"}
"""KFP's states of a run or step that has ended, and how a step is displayed."""
_UNKNOWN = "RUNTIME_STATE_UNSPECIFIED"

_StepState = Literal["waiting", "running"] | StepEnd


@dataclass(frozen=True)
class FollowedRun:
    """The result of a run.

    Attributes:
        state: The state in KFP's terms: `SUCCEEDED`, `FAILED`, `CANCELED` or `SKIPPED`.
        failed: The failed steps, in the order of the pipeline.
        not_run: The steps that did not run because of a condition or because a step before them failed.
    """

    state: str
    failed: tuple[str, ...]
    not_run: tuple[str, ...]


def follow_run(get_run: Callable[[], Mapping[str, Any]], steps: Sequence[str], display: RunDisplay) -> FollowedRun:
    """Shows the steps of a run until it has ended.

    Args:
        get_run: Returns the current `v2beta1Run` of the REST API.
        steps: Names of all steps, in an order in which they can run.
        display: Where to show them.

    Raises:
        KubeflowError: The run can no longer be read.
    """
    states: dict[str, _StepState] = dict.fromkeys(steps, "waiting")
    silence = 0.0
    while True:
        try:
            run = get_run()
        except KubeflowUnreachableError as error:
            if silence >= _MAX_SILENCE_SECONDS:
                raise KubeflowError(f"{error} No response for {silence:.0f} s; the run continues.") from error
            display.progressed("Kubeflow Pipelines does not respond; trying again", transient=True)
            silence += _POLL_SECONDS
        else:
            silence = 0.0
            _show_changes(display, run, states)
            if run.get("state") in _ENDED:
                failed = tuple(name for name in steps if states[name] == "failed")
                not_run = tuple(name for name in steps if states[name] == "not run")
                return FollowedRun(run["state"], failed, not_run)
        time.sleep(_POLL_SECONDS)


def _show_changes(display: RunDisplay, run: Mapping[str, Any], states: dict[str, _StepState]) -> None:
    has_ended = run.get("state") in _ENDED
    tasks = {task.get("display_name"): task for task in run.get("run_details", {}).get("task_details", [])}
    for name, before in states.items():
        state, seconds = _step_state(name, tasks)
        if state == "waiting" and has_ended:
            state = "not run"
        states[name] = state
        if state != before and state != "waiting" and state != "running":
            display.step_ended(name, state, seconds)
    running = [name for name, state in states.items() if state == "running"]
    if running and not has_ended:
        display.step_started(", ".join(running))


def _step_state(name: str, tasks: Mapping[str | None, Mapping[str, Any]]) -> tuple[_StepState, float]:
    task, driver = tasks.get(name, {}), tasks.get(f"{name}-driver", {})
    if driver.get("state") == "FAILED":
        return "failed", _seconds(driver)
    state = task.get("state", _UNKNOWN)
    if state in _ENDED:
        return _ENDED[state], _seconds(task)
    # A step without a state has not started, or Argo has omitted it.
    is_running = state != _UNKNOWN or driver.get("state") in ("PENDING", "RUNNING")
    return ("running" if is_running else "waiting"), 0.0


def _seconds(task: Mapping[str, Any]) -> float:
    if not (task.get("start_time") and task.get("end_time")):
        return 0.0
    start, end = (datetime.fromisoformat(task[key]) for key in ("start_time", "end_time"))
    # The end of a task that is still running is the beginning of the epoch.
    return max((end - start).total_seconds(), 0.0)
