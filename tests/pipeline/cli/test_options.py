import errno
import os
from pathlib import Path

import pytest

from components.example_gen.sources import DataError
from pipeline.cli.options import errors_to_exit_codes, settings_from_options
from pipeline.local.metadata import MetadataError
from pipeline.local.runner import StepFailedError, WorkspaceInUseError
from pipeline.settings.settings import SettingsError
from registry.provenance import DamagedVersionError
from registry.publishing import PublishingError, WrongRequestError


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (SettingsError("what is wrong"), 2),
        (WrongRequestError("what is wrong"), 2),
        (PublishingError("what is wrong"), 1),
        (DamagedVersionError("what is wrong"), 1),
        (DataError("what is wrong"), 1),
        (MetadataError("what is wrong"), 1),
        (StepFailedError("what is wrong"), 1),
        (WorkspaceInUseError("what is wrong"), 1),
    ],
)
def test_errors_end_with_their_message_and_an_exit_code(
    error: Exception, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, errors_to_exit_codes():
        raise error
    assert end.value.code == exit_code
    assert capsys.readouterr().err == "Error: what is wrong\n"


def test_each_line_of_a_message_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), errors_to_exit_codes():
        raise SettingsError("one\ntwo")
    assert capsys.readouterr().err == "Error: one\nError: two\n"


def test_what_the_system_refuses_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, errors_to_exit_codes():
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), "/etc/shadow")
    assert end.value.code == 1
    message = "Error: /etc/shadow: Permission denied; check the path, its permissions and the disk.\n"
    assert capsys.readouterr().err == message


def test_nobody_is_told_that_nobody_reads(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BrokenPipeError), errors_to_exit_codes():
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    assert capsys.readouterr().err == ""


def test_mistakes_of_our_own_are_not_hidden() -> None:
    with pytest.raises(KeyError, match="mistake"), errors_to_exit_codes():
        raise KeyError("mistake")


def test_options_win_over_assignments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.toml").write_text('profile = "fast"\nname = "others"\n')
    assignments = ("data.uri=assigned", "workspace=assigned", "trainer.seed=3")
    settings = settings_from_options(
        Path("other.toml"), assignments, workspace="given", profile="smoke", data_uri="given"
    )
    assert (settings.workspace, settings.profile, settings.data.uri) == (tmp_path / "given", "smoke", "given")
    assert settings.trainer.seed == 3
    assert settings.name == "others"
