"""Tests the contents of the image and its layers."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from registry.signatures import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT
from tests.containers.engine import Engine

pytestmark = pytest.mark.containers

PROJECT_ROOT = Path(__file__).parents[2]
MOST_BYTES = 2.7e9
PLATFORM = {"python_full_version": "3.13.0", "platform_machine": "x86_64", "sys_platform": "linux"}

RunInImage = Callable[..., subprocess.CompletedProcess[str]]


def _inspect(engine: Engine, image: str) -> dict[str, Any]:
    return json.loads(engine.output("image", "inspect", image))[0]


@pytest.fixture(scope="module")
def report(run_in_image: RunInImage) -> Callable[[str], Any]:
    """Returns a function that runs a program in the image and parses its JSON."""

    def ask(program: str) -> Any:
        process = run_in_image("python", "-c", program)
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout)

    return ask


def test_runs_any_command_as_an_unprivileged_user(engine: Engine, image: str) -> None:
    config = _inspect(engine, image)["Config"]
    assert config["User"] == "10001:0"
    assert not config.get("Entrypoint"), "kfp.local would keep it"
    assert config["Cmd"] == ["digits", "--help"]
    assert config["WorkingDir"] == "/app"
    assert set(config["ExposedPorts"]) == {f"{DEFAULT_GRPC_PORT}/tcp", f"{DEFAULT_REST_PORT}/tcp"}


def test_labels(engine: Engine, image: str, base_image: str) -> None:
    labels = _inspect(engine, image)["Config"]["Labels"]
    version = re.search(r'version="(.*)"', (PROJECT_ROOT / "setup.py").read_text())
    assert version
    assert labels["org.opencontainers.image.version"] == version[1]
    assert labels["org.opencontainers.image.title"] == "digit-classifier"
    assert labels["org.opencontainers.image.licenses"] == "MIT"
    assert labels["org.opencontainers.image.revision"] == "unknown", "the copy is not a repository"
    assert labels["org.opencontainers.image.base.name"] == base_image


def test_size(engine: Engine, image: str) -> None:
    assert _inspect(engine, image)["Size"] < MOST_BYTES


@pytest.mark.parametrize("user", ["12345:0", "0:0", "65534:65534"])
def test_digits_runs_for_any_user_from_anywhere(run_in_image: RunInImage, user: str) -> None:
    for command, expected in ((("--help",), "Usage: digits"), (("--version",), "digits, version ")):
        process = run_in_image("digits", *command, options=(f"--user={user}", "--workdir=/"))
        assert process.returncode == 0, process.stderr
        assert process.stdout.startswith(expected)
        assert process.stderr == ""


def test_user_without_an_account_has_a_name_and_a_home(report: Callable[[str], Any]) -> None:
    program = "import getpass, json, os; home = os.path.expanduser('~'); "
    program += "print(json.dumps([getpass.getuser(), home, os.access(home, os.W_OK)]))"
    assert report(program) == ["digits", "/tmp", True]


def test_no_build_tools(report: Callable[[str], Any]) -> None:
    programs = ["as", "c++", "cc", "clang", "g++", "gcc", "git", "ld", "make", "strip", "uv"]
    assert report(f"import json, shutil; print(json.dumps([p for p in {programs} if shutil.which(p)]))") == []


def test_adds_no_other_files_to_the_base_image(engine: Engine, image: str, base_image: str) -> None:
    """No files of the build remain, and no other programs run as root than in the base image."""
    own = ("/app", "/opt/venv", "/proc", "/sys", "*/__pycache__")
    pruned = [part for pattern in own for part in ("-path", pattern, "-prune", "-o")]
    for find, allowed in (((*pruned, "-print"), {"/workspace"}), (("-xdev", "-perm", "/6000", "-type", "f"), set())):
        command = ("run", "--rm", "--user=0:0", "--network=none")
        ours, theirs = (set(engine.output(*command, name, "find", "/", *find).split()) for name in (image, base_image))
        assert ours - theirs == allowed


def test_any_user_can_read_and_none_can_write(run_in_image: RunInImage) -> None:
    readable = ("-perm", "-a+r", "(", "-not", "-type", "d", "-o", "-perm", "-a+x", ")")
    for condition in (("-not", "(", *readable, ")"), ("-perm", "/o+w"), ("-not", "-user", "0")):
        process = run_in_image("find", "/app", "/opt/venv", "-not", "-type", "l", *condition)
        assert (process.returncode, process.stdout, process.stderr) == (0, "", ""), condition


def test_contains_only_code_and_data_of_the_project(report: Callable[[str], Any]) -> None:
    assert report("import json, os; print(json.dumps(sorted(os.listdir('/app'))))") == [
        *("components", "data", "pipeline", "pyproject.toml", "registry", "requirements.txt", "serving", "setup.py")
    ]
    code = "import json, pathlib; print(json.dumps([str(p) for p in pathlib.Path('/app').rglob('old*')]))"
    assert report(code) == []


def test_bytecode_exists_for_all_imports(run_in_image: RunInImage) -> None:
    process = run_in_image("python", "-v", "-c", "import pipeline.cli.main, pipeline.settings.settings, aiohttp, yaml")
    assert process.returncode == 0, process.stderr
    assert len(re.findall(r"^# code object from '.*\.pyc'$", process.stderr, re.MULTILINE)) > 300
    assert re.findall(r"^# code object from '?.*\.py'?$", process.stderr, re.MULTILINE) == []


def test_packages_are_those_of_the_lock(report: Callable[[str], Any]) -> None:
    lines = (PROJECT_ROOT / "deploy" / "requirements.txt").read_text().splitlines()
    requirements = [Requirement(line.rstrip("\\")) for line in lines if re.match(r"[a-z0-9]", line)]
    locked = {
        requirement.name: str(requirement.specifier).removeprefix("==")
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate(PLATFORM)
    }
    program = "import importlib.metadata as m, json, re; "
    program += "print(json.dumps({re.sub('[-_.]+', '-', d.name).lower(): d.version for d in m.distributions("
    program += "path=[p for p in __import__('sys').path if p.startswith('/opt')])}))"
    installed = report(program)
    assert installed.pop("digit-classifier")
    assert installed == locked


def test_packages_are_compatible(run_in_image: RunInImage) -> None:
    """The lock satisfies the requirements of all packages on Python 3.13."""
    check = run_in_image("pip", "--python=/opt/venv/bin/python", "check")
    assert (check.returncode, check.stdout.strip()) == (0, "No broken requirements found."), check.stdout + check.stderr


def test_data_can_come_from_object_stores(report: Callable[[str], Any]) -> None:
    """The AWS definitions for S3 and all its ways of authentication are present."""
    program = "import gcsfs, json, s3fs, botocore.session as b; s = b.get_session(); "
    program += "services = ('s3', 'sts', 'sso', 'sso-oidc'); "
    program += "[s.create_client(name, region_name='eu-west-1') for name in services]; print(json.dumps(services))"
    assert report(program) == ["s3", "sts", "sso", "sso-oidc"]


def test_edited_code_changes_only_small_layers(
    engine: Engine, image: str, make_image: Callable[[str], None], checkout: Path
) -> None:
    file = checkout / "pipeline" / "cli" / "main.py"
    file.write_text(f"{file.read_text()}\n# Edited.\n")
    make_image(f"{image}-edited")
    before, after = (_inspect(engine, name) for name in (image, f"{image}-edited"))
    engine.output("rmi", f"{image}-edited")
    layers = [image["RootFS"]["Layers"] for image in (before, after)]
    # Only the folder `pipeline` and the bytecode change.
    assert layers[0][:-2] == layers[1][:-2]
    assert len(layers[0]) == len(layers[1])
    assert layers[0] != layers[1]
