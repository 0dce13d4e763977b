import json
from typing import Any

import numpy as np
import pytest

from benchmarks import bombs
from benchmarks.bomb_requests import MAX_BYTES, make_bombs
from benchmarks.bombs import BombResult, measure_bombs, missed_targets
from benchmarks.processes import FinishedProcess
from registry.signatures import INPUTS

CHEAP = BombResult("PNG", 8_000_000, 1.0, 300, "ok")


def test_missed_targets() -> None:
    assert list(missed_targets([CHEAP])) == []
    assert list(missed_targets([CHEAP, BombResult("JPEG", 9, 1.234, 1, "ok"), BombResult("GIF", 9, 0, 301, "ok")])) == [
        "JPEG: 1.23 s of CPU, expected at most 1.",
        "GIF: 301 MB of memory, expected at most 300.",
    ]


def test_results_are_read_from_the_output_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def run_process(command: list[str]) -> FinishedProcess:
        commands.append(command)
        return FinishedProcess(1.0, 1, f"a warning\n{json.dumps(vars(CHEAP))}\n")

    monkeypatch.setattr(bombs, "run_process", run_process)
    assert measure_bombs("models/1", "other/python") == [CHEAP]
    assert commands == [["other/python", "-m", "benchmarks.bomb_requests", "models/1"]]


@pytest.mark.slow
def test_bombs_are_small_and_of_every_kind() -> None:
    def size(values: np.ndarray[Any, Any]) -> int:
        return sum(len(value) + 2 for value in values) if values.dtype == object else values.nbytes

    requests = list(make_bombs())
    names = [name for name, _, _ in requests]
    assert len(set(names)) == len(names) >= 30
    assert {name.partition(",")[0] for name in names} > {"PNG", "JPEG", "GIF", "BMP"}
    assert {signature for _, signature, _ in requests} == set(INPUTS)
    assert {name: size(values) for name, _, values in requests if size(values) > 1.01 * MAX_BYTES} == {}
