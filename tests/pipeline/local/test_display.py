import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from components.verdict import Finding, Verdict, write_verdict
from pipeline.local.display import RunDisplay
from pipeline.local.metadata import Outcome, Run
from pipeline.local.runner import RunResult

PROJECT_ROOT = Path(__file__).parents[3]

# A process of its own: it moves its standard output and error, which pytest has moved already.
OUTPUT_SCRIPT = """
import os, sys
from pathlib import Path
from pipeline.local.display import library_output_to

def say(when):
    print(f"{when}: print to output")
    print(f"{when}: print to error", file=sys.stderr)
    os.write(1, f"{when}: write to 1\\n".encode())
    os.write(2, f"{when}: write to 2\\n".encode())

say("before")
open_before = os.listdir("/dev/fd")
try:
    with library_output_to(Path(sys.argv[1]), getattr(sys, sys.argv[2])) as outer:
        say("within")
        outer.write("shown\\n")
        if sys.argv[3] == "fails":
            raise RuntimeError
except RuntimeError:
    print("failed")
assert outer.closed
assert len(os.listdir("/dev/fd")) == len(open_before), os.listdir("/dev/fd")
say("after")
"""


def run_output_script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    process = subprocess.run(
        [sys.executable, "-c", OUTPUT_SCRIPT, *map(str, arguments)],
        cwd=PROJECT_ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process


def lines_of(when: str, *streams: str) -> list[str]:
    return [f"{when}: {stream}" for stream in streams]


@pytest.mark.parametrize("end", ["succeeds", "fails"])
@pytest.mark.parametrize("terminal", ["stdout", "stderr"])
def test_library_output_goes_to_the_file_and_comes_back(tmp_path: Path, terminal: str, end: str) -> None:
    file = tmp_path / "logs" / "run.log"
    process = run_output_script(file, terminal, end)
    everywhere = ("print to output", "print to error", "write to 1", "write to 2")
    assert sorted(file.read_text().splitlines()) == sorted(lines_of("within", *everywhere))
    shown = {terminal: ["shown"]}
    failed = ["failed"] if end == "fails" else []
    for name, text, kinds in (
        ("stdout", process.stdout, ("print to output", "write to 1")),
        ("stderr", process.stderr, ("print to error", "write to 2")),
    ):
        lines = text.splitlines()
        expected = lines_of("before", *kinds) + shown.get(name, []) + lines_of("after", *kinds)
        assert sorted(lines) == sorted(expected + (failed if name == "stdout" else []))


def test_the_file_is_added_to(tmp_path: Path) -> None:
    file = tmp_path / "run.log"
    file.write_text("earlier\n")
    run_output_script(file, "stdout", "succeeds")
    lines = file.read_text().splitlines()
    assert lines[0] == "earlier"
    assert len(lines) == 5


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def display(output: io.StringIO) -> RunDisplay:
    """On what is no terminal, narrower than a line."""
    return RunDisplay(Console(file=output, force_terminal=False, width=20))


def on_terminal(output: io.StringIO) -> RunDisplay:
    return RunDisplay(Console(file=output, force_terminal=True, width=60, _environ={"TERM": "xterm"}))


RUN = Run(
    run_id="2026-01-02T03:04:05.000006",
    pipeline="digits",
    started=datetime(2026, 1, 2, 3, 4, 5, 6),
    seconds=60,
    steps=(),
    outcome="pushed",
    test_accuracy=0.9913,
    version=17,
)
DATA_VERDICT = Verdict("DataGate", (Finding("examples", "train", passed=True),), advice="Mend it.")
FINDINGS = (
    Finding("accuracy", "all", passed=True, value=0.9913),
    *(
        Finding("recall", name, passed=True, value=value)
        for name, value in {"digit 0": 0.995, "digit 8": 0.975, "digit 9": 0.98}.items()
    ),
)
MODEL = Path("workspace/serving/digits/17")
ACCURACY_LINE = "Test accuracy  99.13 % (lowest: digit 8, 97.50 %)"


def test_a_step_has_a_line_with_its_time_or_that_it_was_cached(display: RunDisplay, output: io.StringIO) -> None:
    display.step_started("Trainer")
    assert output.getvalue() == ""
    display.step_finished("Trainer", 12.34, cached=False)
    display.step_started("Pusher")
    display.step_finished("Pusher", 0.1, cached=True)
    assert output.getvalue().splitlines() == [
        "✓ Trainer              12.3 s",
        "= Pusher              cached",
    ]


def test_what_a_step_says_stays_unless_it_is_passing(display: RunDisplay, output: io.StringIO) -> None:
    display.step_started("Trainer")
    display.progressed("epoch 1/2, 50 %", passing=True)
    display.progressed("epoch 1/2: [loss] 0.2500, accuracy 90.00 %", passing=False)
    display.stop()
    assert output.getvalue() == "    epoch 1/2: [loss] 0.2500, accuracy 90.00 %\n"


def test_a_terminal_shows_what_passes_until_the_step_ends() -> None:
    output = io.StringIO()
    display = on_terminal(output)
    display.step_started("Trainer")
    display.progressed("epoch 1/2, 50 %", passing=True)
    display.step_finished("Trainer", 1, cached=False)
    shown = output.getvalue()
    assert "Trainer  epoch 1/2, 50 %" in shown
    assert shown.index("epoch 1/2, 50 %") < shown.index("✓ Trainer")


@pytest.mark.parametrize(
    "show",
    [
        pytest.param(lambda display: display.stop(), id="stop"),
        pytest.param(lambda display: display.step_finished("Trainer", 1.0, cached=False), id="step_finished"),
    ],
)
def test_the_cursor_comes_back(show: Callable[[RunDisplay], None]) -> None:
    output = io.StringIO()
    display = on_terminal(output)
    display.step_started("Trainer")
    assert "\x1b[?25l" in output.getvalue()
    assert "\x1b[?25h" not in output.getvalue()
    show(display)
    assert "\x1b[?25h" in output.getvalue()


def result(
    folder: Path, run: Run, *verdicts: Verdict, model: Path | None = None, served_version: int | None = 17
) -> RunResult:
    written = {folder / verdict.gate: verdict for verdict in verdicts}
    for directory, verdict in written.items():
        directory.mkdir()
        write_verdict(verdict, directory)
    return RunResult(run, written, model, served_version)


@pytest.mark.parametrize(
    ("outcome", "gates"),
    [
        ("pushed", "Gates          passed: DataGate, Evaluator"),
        ("unchanged", "Gates          passed: DataGate, Evaluator; nothing has changed, nothing to do"),
    ],
)
def test_result_that_passed_the_gates(
    tmp_path: Path, display: RunDisplay, output: io.StringIO, outcome: Outcome, gates: str
) -> None:
    evaluation = Verdict("Evaluator", FINDINGS, advice="Train longer.")
    display.show_result(result(tmp_path, replace(RUN, outcome=outcome), DATA_VERDICT, evaluation, model=MODEL))
    assert output.getvalue().splitlines() == ["", ACCURACY_LINE, gates, f"Model          {MODEL}"]


def test_that_another_version_is_served_is_said(tmp_path: Path, display: RunDisplay, output: io.StringIO) -> None:
    evaluation = Verdict("Evaluator", FINDINGS, advice="Train longer.")
    run = replace(RUN, outcome="unchanged")
    display.show_result(result(tmp_path, run, evaluation, model=MODEL, served_version=18))
    assert output.getvalue().splitlines()[-1] == (
        "Served         version 18, as somebody has rolled back; `digits rollback 17` would serve this model again"
    )


def test_result_that_a_gate_refused(tmp_path: Path, display: RunDisplay, output: io.StringIO) -> None:
    """One screen: which gate, which slice, what was observed, what is allowed, and what to do."""
    weak = Finding("precision", "digit 8", passed=False, value=0.9, lower_bound=0.97, reason="it is low")
    evaluation = Verdict("Evaluator", (*FINDINGS, weak), advice="Train longer.")
    run = replace(RUN, outcome="refused", version=None)
    display.show_result(result(tmp_path, run, DATA_VERDICT, evaluation))
    assert output.getvalue().splitlines() == [
        "",
        ACCURACY_LINE,
        "Gates          refused by Evaluator; nothing was pushed",
        "",
        "Evaluator",
        "metric      slice     value    bound      decision   reason",
        "─" * 62,
        "precision   digit 8   0.9000   ≥ 0.9700   REFUSE     it is low",
        "Train longer.",
        f"All findings: {tmp_path / 'Evaluator' / 'verdict.txt'}",
    ]


def test_data_that_was_refused_has_no_accuracy(tmp_path: Path, display: RunDisplay, output: io.StringIO) -> None:
    few = Finding("examples", "train", passed=False, value=7, lower_bound=1000)
    run = replace(RUN, outcome="refused", version=None, test_accuracy=None)
    display.show_result(result(tmp_path, run, Verdict("DataGate", (few,), advice="Add images.")))
    assert output.getvalue().splitlines()[:2] == ["", "Gates          refused by DataGate; nothing was pushed"]


def test_a_long_refusal_fits_on_a_screen(tmp_path: Path, display: RunDisplay, output: io.StringIO) -> None:
    low = tuple(Finding("accuracy", f"slice {number}", passed=False) for number in range(100))
    run = replace(RUN, outcome="refused", version=None)
    display.show_result(
        result(tmp_path, run, Verdict("RobustnessEvaluator", low, ""), Verdict("Evaluator", FINDINGS, ""))
    )
    lines = output.getvalue().splitlines()
    assert len(lines) < 24
    assert "… and 90 more" in lines


def test_a_refusal_without_a_verdict_is_infra_validators(
    tmp_path: Path, display: RunDisplay, output: io.StringIO
) -> None:
    run = replace(RUN, outcome="refused", version=None, test_accuracy=None)
    display.show_result(result(tmp_path, run, DATA_VERDICT))
    assert output.getvalue().splitlines() == [
        "",
        "Gates          refused by InfraValidator; nothing was pushed",
        "TF Serving could not load the model, or did not answer. The log says more.",
    ]
