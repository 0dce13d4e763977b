"""Follows a run on Kubeflow Pipelines with the same lines that a local run shows."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.kubeflow.deploy.errors import KubeflowError, KubeflowUnreachableError
from pipeline.local.display import RunDisplay

_POLL_SECONDS = 5.0
_MAX_SILENCE_SECONDS = 600.0
"""As long as this nobody has to answer: a forwarded port breaks, an API server restarts."""
_CACHED_SECONDS = 1.0
"""Argo ends a step that KFP answers from its cache in the moment in which it begins it; a pod takes longer to start."""
_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


@dataclass(frozen=True)
class FollowedRun:
    """How a run has ended.

    Attributes:
        state: `SUCCEEDED`, `FAILED`, `CANCELED` or `SKIPPED`, as KFP calls it.
        failed: The steps that failed, in the order of the pipeline.
        not_run: The steps that did not run, because a condition or a step before them did not let them.
    """

    state: str
    failed: tuple[str, ...]
    not_run: tuple[str, ...]


@dataclass(frozen=True)
class _Step:
    """What the tasks of a run say of one step: those of KFP's driver, of the step, and of its attempts."""

    state: str
    """`waiting`, `running`, `ran`, `cached`, `failed` or `not run`."""
    seconds: float = 0.0
    num_failed_attempts: int = 0


def follow_run(
    get_run: Callable[[], Any],
    steps: Sequence[str],
    display: RunDisplay,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> FollowedRun:
    """Shows what the steps of a run do, until it has ended.

    Args:
        get_run: Returns the V2beta1Run as it is now.
        steps: Names of all steps, in the order in which they can run.
        display: Where to show it.
        sleep: Waits for some seconds.

    Raises:
        KubeflowError: The run cannot be read any more.
    """
    shown: dict[str, _Step] = {}
    silence = 0.0
    while True:
        try:
            run = get_run()
        except KubeflowUnreachableError as error:
            if silence >= _MAX_SILENCE_SECONDS:
                raise KubeflowError(f"{error} Nobody has answered for {silence:.0f} s; the run goes on.") from error
            display.progressed("Kubeflow Pipelines does not answer; trying again", passing=True)
            silence += _POLL_SECONDS
        else:
            silence = 0.0
            has_ended = run.state in _ENDED
            found = _steps(run, steps)
            _show_changes(shown, found, display, has_ended)
            shown = found
            if has_ended:
                return _result(run.state, found)
        sleep(_POLL_SECONDS)


def _show_changes(shown: Mapping[str, _Step], found: Mapping[str, _Step], display: RunDisplay, has_ended: bool) -> None:
    for name, step in found.items():
        before = shown.get(name, _Step("waiting"))
        if step.num_failed_attempts > before.num_failed_attempts and step.state == "running":
            display.progressed(f"{name}: attempt {step.num_failed_attempts} failed, it is tried again", passing=False)
        if step.state == before.state:
            continue
        if step.state in ("ran", "cached"):
            display.step_finished(name, step.seconds, cached=step.state == "cached")
        elif step.state == "failed":
            display.step_failed(name, step.seconds)
        elif step.state == "not run":
            display.step_not_run(name)
    running = [name for name, step in found.items() if step.state == "running"]
    if running and not has_ended:
        display.step_started(", ".join(running))


def _result(state: str, found: Mapping[str, _Step]) -> FollowedRun:
    return FollowedRun(
        state,
        failed=tuple(name for name, step in found.items() if step.state == "failed"),
        not_run=tuple(name for name, step in found.items() if step.state == "not run"),
    )


def _steps(run: Any, names: Sequence[str]) -> dict[str, _Step]:
    tasks = (run.run_details.task_details or []) if run.run_details else []
    by_name = {task.display_name: task for task in tasks}
    num_attempts = _count_attempts(tasks, names)
    found = {}
    for name in names:
        step = _step(by_name.get(name), by_name.get(f"{name}-driver"), num_attempts.get(name, 0))
        if step.state == "waiting" and run.state in _ENDED:
            step = _Step("not run")
        found[name] = step
    return found


def _step(task: Any | None, driver: Any | None, num_attempts: int) -> _Step:
    if driver is not None and driver.state == "FAILED":
        return _Step("failed", _seconds(driver))
    if task is None or task.state in (None, "RUNTIME_STATE_UNSPECIFIED"):
        # Argo omits what cannot run any more; KFP has no name for that, nor for what has not begun.
        return _Step("running" if driver is not None and driver.state in ("PENDING", "RUNNING") else "waiting")
    if task.state == "SUCCEEDED":
        seconds = _seconds(task)
        return _Step("cached" if seconds <= _CACHED_SECONDS else "ran", seconds)
    if task.state == "SKIPPED":
        return _Step("not run")
    if task.state in ("FAILED", "CANCELED"):
        return _Step("failed", _seconds(task))
    return _Step("running", num_failed_attempts=max(num_attempts - 1, 0))


def _seconds(task: Any) -> float:
    start, end = task.start_time, task.end_time
    is_known = isinstance(start, datetime) and isinstance(end, datetime)
    return max((end - start).total_seconds(), 0.0) if is_known else 0.0


def _count_attempts(tasks: Sequence[Any], names: Sequence[str]) -> dict[str, int]:
    """Counts the attempts of each step.

    An attempt is a task named `executor(0)`, and does not say of which step. But tasks name their children by Argo's
    ids, and these are made of the workflow and of the path to the node (NodeID in workflow_types.go of Argo Workflows).
    """
    children = {child.pod_name for task in tasks for child in task.child_tasks or [] if child.pod_name}
    if not children:
        return {}
    workflow = next(iter(children)).rpartition("-")[0]
    attempts = {}
    for name in names:
        number = 0
        while _node_id(workflow, f"{workflow}.root.{name}.executor({number})") in children:
            number += 1
        attempts[name] = number
    return attempts


def _node_id(workflow: str, path: str) -> str:
    # FNV-1a of 32 bits: http://www.isthe.com/chongo/tech/comp/fnv/
    value = 0x811C9DC5
    for byte in path.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return f"{workflow}-{value}"
