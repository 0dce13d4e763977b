import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO

import pytest
from rich.console import Console

from components.verdict import Finding, Verdict
from pipeline.local.display import RunDisplay, following
from pipeline.local.metadata import Run
from pipeline.local.runner import RunResult

PROJECT_ROOT = Path(__file__).parents[3]

# In a separate process, because pytest has already redirected standard output and error.
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


@pytest.mark.parametrize("end", ["succeeds", "fails"])
@pytest.mark.parametrize("terminal", ["stdout", "stderr"])
def test_library_output_goes_to_the_file_and_comes_back(tmp_path: Path, terminal: str, end: str) -> None:
    file = tmp_path / "logs" / "run.log"
    file.parent.mkdir()
    file.write_text("earlier\n")
    process = subprocess.run(
        [sys.executable, "-c", OUTPUT_SCRIPT, str(file), terminal, end],
        cwd=PROJECT_ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    kinds = {"stdout": ("print to output", "write to 1"), "stderr": ("print to error", "write to 2")}
    within = [f"within: {kind}" for kind in (*kinds["stdout"], *kinds["stderr"])]
    assert sorted(file.read_text().splitlines()) == sorted(["earlier", *within])
    for name, text in (("stdout", process.stdout), ("stderr", process.stderr)):
        expected = [f"{when}: {kind}" for when in ("before", "after") for kind in kinds[name]]
        expected += ["shown"] if name == terminal else []
        expected += ["failed"] if (name, end) == ("stdout", "fails") else []
        assert sorted(text.splitlines()) == sorted(expected)


@pytest.mark.parametrize("target", ["closed pipe", "/dev/full"])
def test_a_terminal_that_cannot_be_written_to_goes_quiet(tmp_path: Path, target: str) -> None:
    script = """
import sys
from pathlib import Path
from pipeline.local.display import library_output_to
with library_output_to(Path(sys.argv[1]), sys.stdout) as outer:
    for number in range(3):
        print("text", file=outer, flush=True)
    print("went on")
"""
    with closing_pipe() if target == "closed pipe" else open(target, "wb") as output:
        command = [sys.executable, "-c", script, str(tmp_path / "run.log")]
        process = subprocess.run(command, cwd=PROJECT_ROOT, stdout=output, stderr=subprocess.PIPE, check=False)
    assert (process.returncode, process.stderr) == (0, b"")
    assert (tmp_path / "run.log").read_text() == "went on\n"


def closing_pipe() -> IO[bytes]:
    """Returns the end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "wb")


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def display(output: io.StringIO) -> RunDisplay:
    """Not on a terminal, and narrower than a line."""
    return RunDisplay(Console(file=output, force_terminal=False, width=20))


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
DATA_PASSED = Verdict("DataGate", (Finding("examples", "train", passed=True),), advice="")
FINDINGS = (
    Finding("accuracy", "all", passed=True, value=0.9913),
    *(Finding("recall", f"class {name}", passed=True, value=value) for name, value in ((0, 0.995), (8, 0.975))),
)
PASSED = Verdict("Evaluator", FINDINGS, advice="")
WEAK = Finding("precision", "class 8", passed=False, value=0.9, lower_bound=0.97, reason="it is low")
ACCEPTED = Finding("change of baseline accuracy", "all", passed=True, accepted=True, reason="upside down")
REFUSED = Verdict("Evaluator", (*FINDINGS, WEAK), advice="Train longer.")
MODEL = Path("workspace/serving/digits/17")
ACCURACY_LINE = "Test accuracy  99.13 % (lowest: class 8, 97.50 %)"


def test_each_step_that_ended_has_a_line(display: RunDisplay, output: io.StringIO) -> None:
    display.step_started("Trainer")
    assert output.getvalue() == ""
    display.step_ended("Trainer", "ran", 12.34)
    display.step_started("Pusher")
    display.step_ended("Pusher", "cached", 0.1)
    display.step_ended("Evaluator", "failed", 2)
    display.step_ended("Pusher", "not run")
    assert output.getvalue().splitlines() == [
        "✓ Trainer              12.3 s",
        "= Pusher              cached",
        "✗ Evaluator             2.0 s  failed",
        "- Pusher              not run",
    ]


def test_the_report_that_is_not_needed_is_not_shown(display: RunDisplay, output: io.StringIO) -> None:
    display.step_ended("DataReport", "not run")
    display.step_ended("RunReport", "ran", 1.1)
    assert output.getvalue() == "✓ RunReport             1.1 s\n"


def test_a_step_that_counts_its_records_has_their_rate(display: RunDisplay, output: io.StringIO) -> None:
    display.step_started("StatisticsGen")
    for count in (60_000, 10_000):
        display.records_processed(count)
    display.step_ended("StatisticsGen", "ran", 4.0)
    display.step_started("Transform")
    display.step_ended("Transform", "ran", 3.6)
    assert output.getvalue().splitlines() == [
        "✓ StatisticsGen         4.0 s  70,000 records, 17,500 per second",
        "✓ Transform             3.6 s",
    ]


def test_only_progress_that_is_not_transient_is_printed(display: RunDisplay, output: io.StringIO) -> None:
    display.step_started("Trainer")
    display.progressed("epoch 1/2, 50 %", transient=True)
    display.progressed("epoch 1/2: [loss] 0.2500, accuracy 90.00 %", transient=False)
    display.stop()
    assert output.getvalue() == "    epoch 1/2: [loss] 0.2500, accuracy 90.00 %\n"


RUNNING = r"[⠁-⣿] Trainer               \d\.\d s"


def screen(output: str) -> list[str]:
    """Returns the lines that a terminal shows after this output."""
    lines, row = [""], 0
    for up, erase, line_feed, text in re.findall(
        r"\x1b\[(\d+)A|(\x1b\[2K)|(\n)|([^\x1b\n\r]+)|\x1b\[[^AK]+?[a-z]|\r", output
    ):
        row += bool(line_feed) - int(up or 0)
        lines += [""] * (row + 1 - len(lines))
        lines[row] = "" if erase else lines[row] + text
    return "\n".join(line.rstrip() for line in lines).rstrip().splitlines()


def test_a_terminal_shows_the_running_step_and_those_that_wait() -> None:
    output = io.StringIO()
    display = RunDisplay(Console(file=output, force_terminal=True, width=70, _environ={"TERM": "xterm"}))
    display.steps_planned(["Transform", "Trainer", "Pusher", "DataReport"])
    display.step_started("Transform")
    display.step_ended("Transform", "ran", 3.6)
    display.step_started("Trainer")
    transform, row, *texts = screen(output.getvalue())
    assert transform == "✓ Transform             3.6 s"
    assert re.fullmatch(RUNNING, row)
    assert texts == ["  then Pusher"]
    display.progressed("epoch 1/2: loss 0.5", transient=True, progress=0.25)
    _, row, *texts = screen(output.getvalue())
    assert re.fullmatch(rf"{RUNNING} ━+╺━+ --:-- left", row)
    assert len(row) <= 70
    assert texts == ["    epoch 1/2: loss 0.5", "  then Pusher"]
    display.progressed("epoch 2/2: eval 0.4", transient=False, progress=1.0)
    display.step_started("Trainer")
    _, epoch, row, *texts = screen(output.getvalue())
    assert epoch == "    epoch 2/2: eval 0.4"
    assert re.fullmatch(rf"{RUNNING} ━+ 00:00 left", row), "runs until the step has ended"
    assert texts == ["  then Pusher"]
    display.step_ended("Trainer", "ran", 12.0)
    display.stop()
    assert screen(output.getvalue()) == [transform, epoch, "✓ Trainer              12.0 s"]


def test_a_terminal_gets_its_cursor_back() -> None:
    output = io.StringIO()
    display = RunDisplay(Console(file=output, force_terminal=True, width=60, _environ={"TERM": "xterm"}))
    stdout = sys.stdout
    display.step_started("Trainer")
    assert sys.stdout is stdout, "goes to the log"
    assert "\x1b[?25l" in output.getvalue()
    assert "\x1b[?25h" not in output.getvalue()
    display.stop()
    assert "\x1b[?25h" in output.getvalue()


def test_lines_of_the_log_are_shown_without_their_colors(display: RunDisplay, output: io.StringIO) -> None:
    display.show_log("2026-01-02 \x1b[1mW\x1b[0m [x]: a warning")
    assert output.getvalue() == "2026-01-02 W [x]: a warning\n"


def test_appended_lines_are_followed_to_the_last(tmp_path: Path) -> None:
    file = tmp_path / "run.log"
    file.write_text("earlier\n")
    lines: list[str] = []
    with following(file, lines.append), file.open("a") as log:
        log.write("first\nsec")
        log.flush()
        log.write("ond\nno end")
    assert lines == ["first", "second", "no end"]


def make_result(run: Run, *verdicts: Verdict, served_version: int | None = 17, rolled_back: bool = False) -> RunResult:
    folders = {Path("artifacts", verdict.gate): verdict for verdict in verdicts}
    return RunResult(run, folders, None if run.outcome == "refused" else MODEL, served_version, rolled_back)


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        pytest.param(
            make_result(RUN, DATA_PASSED, PASSED),
            [ACCURACY_LINE, "Gates          passed: DataGate, Evaluator", f"Model          {MODEL}"],
            id="pushed",
        ),
        pytest.param(
            make_result(replace(RUN, outcome="unchanged"), PASSED, served_version=18, rolled_back=True),
            [
                ACCURACY_LINE,
                "Gates          passed: Evaluator; nothing has changed, nothing to do",
                f"Model          {MODEL}",
                "Served         version 18, because of a rollback; `digits rollback 17` would serve this model again",
            ],
            id="unchanged, after a rollback",
        ),
        pytest.param(
            make_result(replace(RUN, outcome="unchanged"), PASSED, served_version=18),
            [
                ACCURACY_LINE,
                "Gates          passed: Evaluator; nothing has changed, nothing to do",
                f"Model          {MODEL}",
                "Served         version 18, which is newer; `digits rollback 17` would serve this model again",
            ],
            id="unchanged, after a push from elsewhere",
        ),
        pytest.param(
            make_result(RUN, DATA_PASSED, replace(REFUSED, enforced=False)),
            [
                ACCURACY_LINE,
                "Gates          passed: DataGate",
                "               switched off: Evaluator (not met: 1)",
                f"Model          {MODEL}",
            ],
            id="pushed with a gate switched off",
        ),
        pytest.param(
            make_result(RUN, replace(PASSED, findings=(*PASSED.findings, ACCEPTED))),
            [
                ACCURACY_LINE,
                "Gates          passed: Evaluator",
                "               accepted by a person: Evaluator, all: upside down",
                f"Model          {MODEL}",
            ],
            id="pushed with data that a person has accepted",
        ),
        pytest.param(
            make_result(replace(RUN, outcome="refused", version=None), DATA_PASSED, REFUSED),
            [
                ACCURACY_LINE,
                "Gates          refused by Evaluator; nothing was pushed",
                "",
                "Evaluator",
                "metric      slice     value    bound      decision   reason",
                "─" * 62,
                "precision   class 8   0.9000   ≥ 0.9700   REFUSE     it is low",
                "Train longer.",
                "All findings: artifacts/Evaluator/verdict.txt",
            ],
            id="refused by a gate",
        ),
        pytest.param(
            make_result(replace(RUN, outcome="refused", version=None, test_accuracy=None), DATA_PASSED),
            [
                "Gates          refused by InfraValidator; nothing was pushed",
                "TF Serving could not load the model, or did not respond. See the log for details.",
            ],
            id="refused by InfraValidator, before an evaluation",
        ),
    ],
)
def test_result(display: RunDisplay, output: io.StringIO, result: RunResult, lines: list[str]) -> None:
    display.show_result(result)
    assert output.getvalue().splitlines() == ["", *lines]


def test_trials_are_a_table(display: RunDisplay, output: io.StringIO) -> None:
    first = {"trial": 3, "eval_loss": 0.0123, "eval_accuracy": 0.996, "seconds": 61.5, "learning_rate": 0.0123}
    first |= {"weight_decay": 0.1, "label_smoothing": 0.0, "width": 48, "depth": 3, "augmentation": 0.51234}
    trials = (first, {**first, "trial": 0, "eval_loss": 0.5})
    display.show_result(replace(make_result(RUN, DATA_PASSED), trials=trials))
    assert output.getvalue().splitlines() == [
        "",
        "trial   eval loss   accuracy   took   learning rate   decay   smoothing   width   depth   augmentation",
        "─" * 102,
        "3       0.0123      99.60 %    62 s   0.0123          0.1     0           48      3       0.512",
        "0       0.5000      99.60 %    62 s   0.0123          0.1     0           48      3       0.512",
    ]


def test_a_long_refusal_fits_on_a_screen(display: RunDisplay, output: io.StringIO) -> None:
    low = tuple(Finding("accuracy", f"slice {number}", False, f"reason {number}") for number in range(100))
    run = replace(RUN, outcome="refused", version=None)
    display.show_result(make_result(run, Verdict("RobustnessEvaluator", low, ""), PASSED))
    lines = output.getvalue().splitlines()
    assert len(lines) < 24
    assert "… and 90 more" in lines
