import itertools
import os
import sys
from pathlib import Path

import click
import pytest

from benchmarks.processes import (
    NO_BOUNDS,
    FinishedProcess,
    ProcessFailedError,
    exit_with,
    newest_version,
    run_module,
    run_process,
)
from pipeline.settings.settings import load_settings, parse_assignments

MEGABYTE = 1_000_000
ALLOCATE = f"import time; block = b'x' * {200 * MEGABYTE}; time.sleep(0.5)"


def run_python(code: str) -> FinishedProcess:
    return run_process([sys.executable, "-c", code])


def test_time_and_output_of_a_process() -> None:
    code = "import sys, time; time.sleep(0.5); print('a' * 1_000_000); print('progress', file=sys.stderr)"
    process = run_python(code)
    assert 0.5 <= process.seconds < 10
    assert process.stdout == "a" * 1_000_000 + "\n"


def test_peak_memory_includes_children_and_memory_that_was_freed() -> None:
    freed = f"{ALLOCATE}; del block; time.sleep(0.5)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {freed!r}])"
    assert 200 * MEGABYTE <= run_python(child).peak_bytes < 400 * MEGABYTE


def test_samples_include_the_time_of_children_that_have_ended() -> None:
    child = "import time\nwhile time.process_time() < 0.5: pass"
    code = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {child!r}]); time.sleep(0.3)"
    samples = run_python(code).samples
    assert all(before.time < after.time for before, after in itertools.pairwise(samples))
    assert samples[0].cpu_seconds < 0.5 <= samples[-1].cpu_seconds < 10


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "print('\\n'.join(map(str, range(500)))); raise SystemExit('why')",
            r"exit code 1; .*:\n471\n(.|\n)*499\nwhy$",
        ),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9"),
    ],
)
def test_a_failed_process_is_an_error_with_the_end_of_its_output(code: str, message: str) -> None:
    with pytest.raises(ProcessFailedError, match=message):
        run_python(code)


def test_a_process_has_its_working_directory(tmp_path: Path) -> None:
    assert run_process(["pwd", "-P"], tmp_path).stdout.strip() == str(tmp_path.resolve())


def test_a_module_of_this_environment() -> None:
    assert run_module("json.tool", "--help").stdout.startswith("usage:")


def test_newest_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(click.UsageError, match="no version has been pushed to workspace/serving/digits; run `digits"):
        newest_version()
    for name in ("9", "10", ".publishing-11"):
        (tmp_path / "workspace" / "serving" / "digits" / name).mkdir(parents=True)
        (tmp_path / "workspace" / "serving" / "digits" / name / "saved_model.pb").touch()
    assert newest_version() == Path("workspace", "serving", "digits", "10")


@pytest.mark.parametrize(("failures", "exit_code"), [([], 0), (["it is slow."], 1)])
def test_exit_code_tells_whether_a_target_is_missed(failures: list[str], exit_code: int) -> None:
    with pytest.raises(SystemExit) as end:
        exit_with(failures)
    assert end.value.code == exit_code


def test_no_bounds_switches_the_model_gates_off() -> None:
    assignments = tuple(f"{name}={value}" for name, value in NO_BOUNDS.items())
    settings = load_settings(parse_assignments(assignments), file=Path(os.devnull))
    assert (settings.evaluation.enforced, settings.robustness.enforced) == (False, False)
