import sys

import pytest

from benchmarks.processes import FinishedProcess, ProcessFailedError, run_module, run_process

MEGABYTE = 1_000_000
ALLOCATE = f"import time; block = b'x' * {200 * MEGABYTE}; time.sleep(0.5)"


def run_python(code: str) -> FinishedProcess:
    return run_process([sys.executable, "-c", code])


def test_time_is_that_of_the_whole_process() -> None:
    assert 0.5 <= run_python("import time; time.sleep(0.5)").seconds < 5


def test_output_longer_than_a_pipe_holds_is_kept() -> None:
    assert run_python("print('a' * 1_000_000)").stdout == "a" * 1_000_000 + "\n"


def test_standard_error_is_not_mixed_into_the_output() -> None:
    assert run_python("import sys; print('progress', file=sys.stderr); print('{}')").stdout == "{}\n"


def test_memory_of_the_process() -> None:
    assert 200 * MEGABYTE <= run_python(ALLOCATE).peak_bytes < 400 * MEGABYTE


def test_memory_of_a_child_counts() -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ALLOCATE!r}])"
    assert 200 * MEGABYTE <= run_python(child).peak_bytes < 400 * MEGABYTE


def test_memory_given_back_before_the_end_counts() -> None:
    assert run_python(f"{ALLOCATE}; del block; time.sleep(0.5)").peak_bytes >= 200 * MEGABYTE


def test_failure_holds_the_exit_code_and_the_end_of_the_output() -> None:
    code = "import sys; print('\\n'.join(map(str, range(500)))); sys.exit('no such digit')"
    with pytest.raises(ProcessFailedError, match="exit code 1; the end of its output:\n471\n") as failure:
        run_python(code)
    assert failure.value.exit_code == 1
    assert str(failure.value).endswith("\n499\nno such digit")


def test_death_by_a_signal_is_a_failure() -> None:
    with pytest.raises(ProcessFailedError, match="exit code -9"):
        run_python("import os; os.kill(os.getpid(), 9)")


def test_missing_program() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        run_process(["no-such-program"])


def test_module() -> None:
    assert run_module("json.tool", "--help").stdout.startswith("usage:")
