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
for arguments in (["--help"], ["run", "--help"], ["rollback", "--help"], ["prune", "--help"], ["clean", "--help"]):
    try:
        main(arguments)
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
    ],
)
def test_wrong_use_exits_with_2(digits: Digits, arguments: tuple[str, ...], message: str) -> None:
    result = digits(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("workspace").exists()
