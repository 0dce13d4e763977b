import errno
import os
from pathlib import Path

import pytest

from components.example_gen.sources.errors import DataError
from pipeline.cli.options import errors_to_exit_codes, settings_from_options
from pipeline.local.metadata import MetadataError
from pipeline.local.runner import StepFailedError, WorkspaceInUseError
from pipeline.settings.settings import SettingsError
from registry.provenance import DamagedVersionError
from registry.publishing import PublishingError, WrongRequestError


@pytest.mark.parametrize(
    ("error", "exit_code", "shown"),
    [
        (SettingsError("one\ntwo"), 2, "Error: one\nError: two\n"),
        (WrongRequestError("wrong"), 2, "Error: wrong\n"),
        (PublishingError("wrong"), 1, "Error: wrong\n"),
        (DamagedVersionError("wrong"), 1, "Error: wrong\n"),
        (DataError("wrong"), 1, "Error: wrong\n"),
        (MetadataError("wrong"), 1, "Error: wrong\n"),
        (StepFailedError("wrong"), 1, "Error: wrong\n"),
        (WorkspaceInUseError("wrong"), 1, "Error: wrong\n"),
        (
            OSError(errno.EACCES, os.strerror(errno.EACCES), "/etc/shadow"),
            1,
            "Error: /etc/shadow: Permission denied; check the path, its permissions and the disk.\n",
        ),
    ],
)
def test_expected_errors_end_with_their_message_and_an_exit_code(
    error: Exception, exit_code: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, errors_to_exit_codes():
        raise error
    assert end.value.code == exit_code
    assert capsys.readouterr().err == shown


@pytest.mark.parametrize("error", [KeyError("bug"), BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))])
def test_bugs_and_closed_pipes_are_not_reported_as_user_errors(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)), errors_to_exit_codes():
        raise error
    assert capsys.readouterr().err == ""


def test_options_override_assignments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.toml").write_text('profile = "fast"\nname = "others"\n')
    assignments = ("data.uri=assigned", "workspace=assigned", "trainer.seed=3")
    settings = settings_from_options(
        Path("other.toml"), assignments, workspace="given", profile="smoke", data_uri="given"
    )
    assert (settings.workspace, settings.profile, settings.data.uri) == (tmp_path / "given", "smoke", "given")
    assert settings.trainer.seed == 3
    assert settings.name == "others-smoke"
