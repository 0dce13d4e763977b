"""Help and invalid usage."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Digits = Callable[..., Result]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_help_imports_nothing_heavy() -> None:
    script = """
import sys
from pipeline.cli.main import main
for command in ((), ("new",), ("run",), ("rollback",), ("prune",), ("clean",)):
    try:
        main([*command, "--help"])
    except SystemExit as end:
        assert end.code == 0
heavy = {"tensorflow", "tfx", "apache_beam", "keras", "numpy", "pydantic", "rich", "ml_metadata"}
print(sorted(heavy & set(sys.modules)))
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"
    assert "--profile" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--set", "trainer.epoch=3"), "Error: trainer.epoch: no such setting; did you mean 'epochs'?"),
        (("run", "--profile", "slow"), "Error: profile: Input should be 'smoke', 'fast' or 'default', not 'slow'."),
        (("run", "--config", "absent.toml"), "Error: absent.toml: cannot be read: No such file or directory."),
        (("runs", "--config", "absent.toml"), "Error: absent.toml: cannot be read"),
        (("verify-data",), "Missing argument 'URI'"),
        (("run", "--fast"), "No such option"),
        (("predct",), "No such command 'predct'. Did you mean 'predict'?"),
    ],
)
def test_wrong_use_exits_with_2(digits: Digits, arguments: tuple[str, ...], message: str) -> None:
    result = digits(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("workspace").exists()


def test_a_command_that_resembles_no_other_gets_no_suggestion(digits: Digits) -> None:
    result = digits("table")
    assert result.exit_code == 2
    assert result.stderr.endswith("Error: No such command 'table'.\n")


@pytest.mark.parametrize("command", ["run", "compile"])
def test_a_schema_that_does_not_fit_is_refused_before_any_work(digits: Digits, command: str) -> None:
    Path("schema.pbtxt").write_text("feature {}")
    result = digits(command, "--set", "data.schema_file=schema.pbtxt")
    assert result.exit_code == 2
    assert "schema.pbtxt: expected a feature 'image' of type BYTES" in result.stderr
    assert [path.name for path in Path().iterdir()] == ["schema.pbtxt"]
