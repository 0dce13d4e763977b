"""Tries the faults that the pipeline and the server must survive, and prints what failed."""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from benchmarks.bombs import measure_bombs, missed_targets
from benchmarks.processes import exit_with, model_option
from benchmarks.reliability.kills import kill_publishing, kill_runs
from benchmarks.reliability.malformed import predict_malformed, send_malformed
from benchmarks.reliability.trial import Trial, render_trials
from benchmarks.serving.measurements import load_damaged, swap_under_load, warm_up
from benchmarks.serving.overload import measure_overload
from benchmarks.serving.server import LoopProcess, make_two_models, run_server
from benchmarks.serving.traffic import INPUTS
from registry.signatures import DEFAULT_MODEL_NAME

PARTS = ("publishing", "runs", "input", "bombs", "swaps", "overload")
_OVERLOAD_SECONDS = 10.0


@click.command()
@model_option
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, help="Try only this part. Can be repeated.")
@click.option("--kills", type=click.IntRange(min=1), default=200, show_default=True, help="Kills of publishing.")
@click.option("--runs", type=click.IntRange(min=1), default=40, show_default=True, help="Kills of whole runs.")
@click.option("--swaps", type=click.IntRange(min=1), default=20, show_default=True, help="Versions pushed under load.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the times of the kills.")
def main(model: Path, parts: tuple[str, ...], kills: int, runs: int, swaps: int, seed: int) -> None:
    """Try kills, damage, malformed input and overload; exit with 1 if anything is lost or partial."""
    trials = []
    # `kill_publishing` forks, so it must come before TensorFlow starts threads.
    for trial in _trials(model, parts or PARTS, kills, runs, swaps, np.random.default_rng(seed)):
        click.echo(render_trials([trial]))
        trials.append(trial)
    if len(trials) > 1:
        click.echo(render_trials(trials))
    exit_with(f"{trial.fault}: {problem}" for trial in trials for problem in trial.problems)


def _trials(
    model: Path, parts: Collection[str], kills: int, runs: int, swaps: int, generator: np.random.Generator
) -> Iterator[Trial]:
    with TemporaryDirectory(prefix="reliability-") as name:
        folders = {part: Path(name, part) for part in PARTS}
        for folder in folders.values():
            folder.mkdir()
        if "publishing" in parts:
            yield kill_publishing(model, folders["publishing"], kills, generator)
        if "runs" in parts:
            yield kill_runs(folders["runs"], runs, generator)
        if "input" in parts:
            yield predict_malformed(model, folders["input"])
        if "bombs" in parts:
            results = measure_bombs(str(model))
            yield Trial("malicious request", "at most 1 s of CPU and 300 MB", len(results), [*missed_targets(results)])
        if {"input", "swaps", "overload"} & set(parts):
            yield from asyncio.run(_serve(model, folders["swaps"], parts, swaps))


async def _serve(model: Path, workspace: Path, parts: Collection[str], num_swaps: int) -> list[Trial]:
    trials = []
    with closing(LoopProcess(model)) as loop:
        expected = {signature: await loop.expected(signature) for signature in INPUTS}
        models = make_two_models(model, workspace)
        models.push(1, workspace / "serving" / DEFAULT_MODEL_NAME)
        with run_server(workspace) as server:
            await warm_up(server, expected)
            if "input" in parts:
                trials.append(await send_malformed(server.address))
            if "overload" in parts:
                for each in await measure_overload(server, expected, 1, seconds=_OVERLOAD_SECONDS):
                    note = (
                        f"{each.answered:,} answered, p99 {each.p99_seconds:.1f} s; {each.shed:,} refused; "
                        f"{each.offered_rate / each.capacity:.1f} times the capacity"
                    )
                    problems = [*each.problems]
                    trials.append(
                        Trial(f"overload ({each.api})", "an answer or a refusal", each.offered, problems, note)
                    )
            if "swaps" in parts:
                versions = range(2, 2 + num_swaps)
                swaps = await swap_under_load(server, models, expected, versions)
                note = f"{swaps.num_requests:,} requests"
                trials.append(Trial("new version under load", "no request fails", num_swaps, [*swaps.problems], note))
                damaged = await load_damaged(server, models, expected, versions[-1])
                note = f"{damaged.num_requests:,} requests"
                trials.append(
                    Trial(
                        "damaged version under load",
                        "the version before it answers every request",
                        damaged.num_swaps,
                        [*damaged.problems],
                        note,
                    )
                )
    return trials


if __name__ == "__main__":
    main()
