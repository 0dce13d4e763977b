"""Builds the image once with `make image`, from a copy of the project, and runs commands in it."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.containers.base_image import ensure_base_image
from tests.containers.engine import CONFINED, Engine, NoEngineError, open_engine, require_containers, user

PROJECT_ROOT = Path(__file__).parents[2]
DOCKERFILE = PROJECT_ROOT / "deploy" / "Dockerfile"
IMAGE = "localhost/digit-classifier:test"

RunInImage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine, with the base image."""
    try:
        with open_engine() as engine:
            base_image = ensure_base_image(engine, DOCKERFILE, tmp_path_factory.mktemp("base"))
            require_containers(engine, base_image)
            yield engine
    except NoEngineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def base_image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of the base image."""
    return ensure_base_image(engine, DOCKERFILE, tmp_path_factory.mktemp("unused"))


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with a strict umask and files that must not enter the image."""
    folder = tmp_path_factory.mktemp("checkout")
    requirements = ("pyproject.toml", "requirements-uv.txt")
    for name in (".dockerignore", "Makefile", *requirements, "setup.py", "setup_check.py"):
        shutil.copy2(PROJECT_ROOT / name, folder)
    for name in ("components", "data", "deploy", "pipeline", "registry", "serving"):
        shutil.copytree(PROJECT_ROOT / name, folder / name)
    for left_over in (".env", ".git/config", "workspace/metadata.sqlite", "pipeline/__pycache__/old.cpython-313.pyc"):
        (folder / left_over).parent.mkdir(parents=True, exist_ok=True)
        (folder / left_over).write_text("SECRET")
    (folder / "pipeline" / "cli" / "main.py").chmod(0o600)
    (folder / "serving").chmod(0o700)
    return folder


@pytest.fixture(scope="session")
def make_image(engine: Engine, base_image: str, checkout: Path) -> Callable[[str], None]:
    """Returns a function that builds an image from the copy of the project, with `make image`."""

    def make(name: str) -> None:
        command = ["make", "image", f"IMAGE={name}", f"PYTHON_IMAGE={base_image}"]
        process = subprocess.run(
            command, cwd=checkout, env=engine.environment, capture_output=True, text=True, check=False
        )
        assert process.returncode == 0, f"{process.stdout[-5000:]}\n{process.stderr[-5000:]}"

    return make


@pytest.fixture(scope="session")
def image(engine: Engine, make_image: Callable[[str], None]) -> Iterator[str]:
    make_image(IMAGE)
    yield IMAGE
    engine.run("rmi", "--force", IMAGE)


@pytest.fixture(scope="session")
def run_in_image(engine: Engine, image: str) -> RunInImage:
    """Returns a function that runs a command in a restricted container, by default as a user unknown to the image."""

    def run(*command: str, options: tuple[str | Path, ...] = ()) -> subprocess.CompletedProcess[str]:
        return engine.run("run", "--rm", *CONFINED, f"--user={user()}", *options, image, *command)

    return run


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where any user may write."""
    folder = tmp_path_factory.mktemp("container") / "workspace"
    folder.mkdir()
    os.chmod(folder, 0o777)
    return folder
