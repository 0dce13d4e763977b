"""Kills publishing and whole runs at random times; checks that nothing is partial and that the next try succeeds."""

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.processes import DIGITS, ProcessFailedError, run_pipeline, run_process
from benchmarks.reliability.trial import Trial
from registry.provenance import Origin
from registry.publishing import prune, publish
from registry.signing import State, TrustPolicy, prepare_private_key
from registry.versions import list_versions

_SETTINGS = {
    "trainer.epochs": 1,
    **{f"{gate}.enforced": "false" for gate in ("data_gate", "evaluation", "robustness", "serving_check")},
}
"""Settings of short runs whose model is always pushed."""


def kill_publishing(model: Path, workspace: Path, num_kills: int, generator: np.random.Generator) -> Trial:
    """Kills a process that publishes versions, and publishes one after each kill.

    Args:
        model: Folder of a SavedModel.
        workspace: An empty folder.
        num_kills: How often to kill.
        generator: Chooses the times of the kills, within twice the duration of a push.
    """
    trial = Trial("kill while a version is published", "every version is complete, and the next push succeeds")
    serving_directory = workspace / "serving" / "digits"
    key = prepare_private_key(workspace / "key.pem", None, is_development=True, say=lambda _: None)
    policy = TrustPolicy(key)
    publish(model, serving_directory, {}, Origin(), key)
    # The first push also imports the signing library.
    started = time.perf_counter()
    publish(model, serving_directory, {}, Origin(), key)
    seconds = time.perf_counter() - started
    num_published = 0
    for number in range(num_kills):
        process = multiprocessing.get_context("fork").Process(
            target=_publish_forever, args=(model, serving_directory, key), daemon=True
        )
        process.start()
        time.sleep(generator.uniform(0, 2 * seconds))
        process.kill()
        process.join()
        newest = publish(model, serving_directory, {}, Origin(), key)
        for version in list_versions(serving_directory):
            num_published += 1
            check = policy.check(version.directory)
            if check.state is not State.VERIFIED:
                trial.problems.append(f"kill {number}: {check.reason}")
        if leftovers := [path.name for path in serving_directory.glob(".*ing-*")]:
            trial.problems.append(f"kill {number}: {', '.join(leftovers)} stayed behind")
        if newest != list_versions(serving_directory)[-1]:
            trial.problems.append(f"kill {number}: version {newest.number} is not the newest")
        prune(serving_directory, 1, policy)
        trial.num_tries += 1
    trial.note = f"a push takes {1000 * seconds:.0f} ms; {num_published:,} versions checked"
    return trial


def _publish_forever(model: Path, serving_directory: Path, key: Path) -> None:
    while True:
        publish(model, serving_directory, {}, Origin(), key)


def kill_runs(workspace: Path, num_kills: int, generator: np.random.Generator) -> Trial:
    """Kills whole runs of the smoke profile, each on data in another order, and runs each to its end afterwards.

    Args:
        workspace: An empty folder.
        num_kills: How often to kill.
        generator: Chooses the times of the kills, within the duration of a run.
    """
    trial = Trial("kill of a whole run", "the next run reuses the finished steps and pushes one complete version")
    seconds = run_pipeline(workspace, "smoke", {**_SETTINGS, "data.seed": 1_000_000}).seconds
    num_reused = num_unfinished = 0
    for number in itertools.count():
        if trial.num_tries == num_kills:
            break
        settings = {**_SETTINGS, "data.seed": number}
        before = len(_listed("versions", workspace))
        ended_after = _run_and_kill(workspace, settings, generator.uniform(0, seconds))
        if ended_after is not None:
            # Later runs are faster than the first.
            seconds = ended_after
            continue
        # A run that is killed before its first step has no record.
        killed = [run for run in _listed("runs", workspace) if run["outcome"] == "unfinished"][num_unfinished:]
        finished = {step["name"] for run in killed for step in run["steps"] if step["state"] == "ran"}
        num_unfinished += len(killed)
        pushed_when_killed = len(_listed("versions", workspace)) - before
        try:
            result = json.loads(run_pipeline(workspace, "smoke", settings).stdout)
        except ProcessFailedError as error:
            trial.problems.append(f"kill {number}: {str(error).splitlines()[-1]}")
            continue
        finally:
            trial.num_tries += 1
        repeated = {step["name"] for step in result["steps"] if step["state"] == "ran"} & finished
        num_reused += len(finished - repeated)
        versions = _listed("versions", workspace)
        if repeated - {"Pusher"}:
            trial.problems.append(f"kill {number}: {', '.join(sorted(repeated))} ran again")
        if len(versions) - before != 1:
            trial.problems.append(f"kill {number}: {pushed_when_killed} and then {len(versions) - before} new versions")
        trial.problems += [
            f"kill {number}: version {each['version']} is {each['state']}"
            for each in versions
            if each["state"] != State.DEVELOPMENT_KEY
        ]
        click.echo(f"{trial.num_tries} of {num_kills} runs killed, {len(trial.problems)} failures", err=True)
    trial.note = f"a run takes {seconds:.0f} s; {num_reused} finished steps reused"
    return trial


def _run_and_kill(workspace: Path, settings: dict[str, Any], seconds: float) -> float | None:
    """Kills a run after a time; returns its duration if it ended before."""
    options = [argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")]
    command = [DIGITS, "run", "--workspace", str(workspace), "--profile", "smoke", *options]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        process.wait(seconds)
        return time.perf_counter() - started
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def _listed(command: str, workspace: Path) -> list[dict[str, Any]]:
    """Returns what `digits runs` or `digits versions` lists."""
    listed: list[dict[str, Any]] = json.loads(
        run_process([DIGITS, command, "--workspace", str(workspace), "--json"]).stdout
    )
    return listed
