"""The commands in README and the guides run, in their order, in a copy of the project.

Settings in the environment make the runs small.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.settings.settings import PROFILES, load_settings
from tests.support.documentation import PROJECT_ROOT, SHELL, Command, read_page, read_pages
from tests.support.own_images import write_shapes
from tests.support.serve_process import ServeProcess, digits_serve

pytestmark = pytest.mark.slow

COMMANDS = [
    pytest.param(command, id=f"{command.page}:{command.line}")
    for page in read_pages()
    for command in page.commands
    if not command.markers
]
REFUSED = "digits run --set evaluation.min_accuracy=0.992"
"""What a small run does not reach."""
VERSIONS = {"1795345707": 0, "1795358541": 0, "1795358900": -1, "1795431209": -1}
"""Versions in the guides, and their positions in the list of pushed versions."""
PORTS = "--rest-port 0 --grpc-port 0"
OPTIONS = {
    "make serve": f'ARGS="{PORTS}"',
    "digits serve": PORTS,
    ".venv/bin/digits tune": "--trials 2 --epochs 1 --max-images 1000",
}
"""Options that a test adds: free ports, and a small search."""


@dataclass(frozen=True)
class Project:
    """A folder with the files of the project and an environment, where commands may write."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def versions(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "workspace" / "serving" / "digits").glob("[0-9]*"))

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            arguments,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def small_runs() -> dict[str, str]:
    """What the profile smoke sets, and a smaller network, for all profiles and without the suffix of the name."""
    smoke = load_settings({"profile": "smoke"}).model_dump()
    keys = [(section, key) for profile in PROFILES.values() for section, keys in profile.items() for key in keys]
    values = {f"DIGITS_{section}__{key}".upper(): str(smoke[section][key]) for section, key in keys}
    # Other epochs than in docs/run.md, whose command pushes the second model that a rollback needs.
    return values | {"DIGITS_TRAINER__EPOCHS": "3", "DIGITS_TRAINER__WIDTH": "32"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    for path in PROJECT_ROOT.iterdir():
        if not path.name.startswith(".") and path.name not in ("build", "digits.toml", "docs", "workspace"):
            (folder / path.name).symlink_to(path)
    # A command writes pictures there.
    shutil.copytree(PROJECT_ROOT / "docs", folder / "docs")
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if not path.name.startswith(".ready"):
            (folder / ".venv" / path.name).symlink_to(path)
    # `make` considers this environment up to date.
    for name in (".venv/.ready-python", ".uv/bin/uv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    programs = os.pathsep.join([f"{folder}/.venv/bin", os.environ["PATH"]])
    return Project(folder, {**os.environ, **small_runs(), "PATH": programs, "PYTHON": "python"})


@pytest.fixture(scope="module")
def files(project: Project) -> None:
    """The files that the commands assume."""
    samples = PROJECT_ROOT / "data" / "samples"
    shutil.copy(samples / "7-pencil.png", project.folder / "drawing.png")
    shutil.copytree(samples, project.folder / "scans")
    write_shapes(project.folder / "path" / "to" / "birds", per_class=30)
    write_shapes(project.folder / "my-data", per_class=30)
    (experiment,) = [token.content for token in read_page("docs/run.md").blocks if token.info == "toml"]
    (project.folder / "experiments").mkdir()
    (project.folder / "experiments" / "a.toml").write_text(experiment, encoding="utf-8")


@pytest.fixture(scope="module")
def server(project: Project) -> Iterator[ServeProcess]:
    with digits_serve(project.folder / "workspace") as process:
        yield process


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("command", COMMANDS)
def test_runs(command: Command, project: Project, request: pytest.FixtureRequest) -> None:
    text = command.text
    if "make_pictures" in text and not shutil.which("chromedriver"):
        pytest.skip("needs Chromium and its driver: on Debian, apt install chromium chromium-driver")
    for documented, position in VERSIONS.items():
        if documented in text:
            text = text.replace(documented, project.versions[position])
    if "localhost:850" in text:
        running: ServeProcess = request.getfixturevalue("server")
        rest = running.address("REST").removeprefix("http://").partition("/")[0]
        text = text.replace("localhost:8501", rest).replace("localhost:8500", running.address("gRPC"))
    added = [options for start, options in OPTIONS.items() if text.startswith(start)]
    text = " ".join([text.partition("  #")[0], *added]) if added else text
    if PORTS in text:
        assert_serves(project, text)
        return
    run = ["bash", "-euo", "pipefail", "-c"] if command.language == SHELL else [sys.executable, "-c"]
    with project.start(*run, text) as process:
        output, _ = process.communicate()
    assert process.returncode == (3 if text == REFUSED else 0), f"{command}\n{output[-4000:]}"
    if "curl" in text:
        assert '"label":"7"' in output.replace(" ", "")


def assert_serves(project: Project, text: str) -> None:
    """Starts a server, and stops it when it is ready."""
    with project.start("bash", "-c", text) as process:
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if "curl" in line:
                os.killpg(process.pid, signal.SIGTERM)
        assert any("curl" in line for line in lines), "".join(lines)
