"""Provides the base image of deploy/Dockerfile: pulled, or if no registry is reachable, an equivalent one."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.containers.engine import Engine, NoEngineError

_PULL_SECONDS = 120
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_PACKAGES = ("ca-certificates", "netbase", "tzdata")
_DEBIAN_PYTHON = ("python3", "python3-dev", "python3-pip", "python3-venv")
# Libraries that CPython of Debian 13 is linked with.
_LIBRARIES = (
    *("libbz2-1.0", "libexpat1", "libffi8", "liblzma5", "libncursesw6", "libreadline8t64", "libsqlite3-0"),
    *("libssl3t64", "libuuid1", "zlib1g"),
)


def ensure_base_image(engine: Engine, dockerfile: Path, folder: Path) -> str:
    """Provides the base image of a Dockerfile.

    Args:
        engine: The engine that needs it.
        dockerfile: File whose argument PYTHON_IMAGE is an official image of Python with a digest.
        folder: An empty folder for temporary files.

    Returns:
        Its full name; without the digest, which an equivalent image cannot have.

    Raises:
        NoEngineError: The image can neither be pulled nor built.
    """
    pattern = r"^ARG PYTHON_IMAGE=(docker.io/library/python:(\d+\.\d+)[\d.]*-slim-(\w+))@sha256:[0-9a-f]{64}$"
    found = re.search(pattern, dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"{dockerfile}: expected a slim image of Python, with its digest"
    name = found[1]
    if engine.run("image", "inspect", name).returncode != 0 and not _pull(engine, name):
        if shutil.which("mmdebstrap") is None:
            raise NoEngineError(f"{name} can neither be pulled nor built: mmdebstrap is not installed")
        _import(engine, name, _make_root(found[2], found[3], folder / "root"))
    return name


def _pull(engine: Engine, name: str) -> bool:
    try:
        return engine.run("pull", name, timeout=_PULL_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _make_root(version: str, release: str, root: Path) -> Path:
    """Installs Debian and Python in a folder; Python of pyenv below /usr/local, as in the official image."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    prefixes = sorted((pyenv / "versions").glob(f"{version}.*"))
    packages = (*_PACKAGES, *(_LIBRARIES if prefixes else _DEBIAN_PYTHON))
    _run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}", release, root])
    local = root / "usr" / "local"
    if prefixes:
        ignored = shutil.ignore_patterns("__pycache__", "site-packages", "test", "*.a")
        shutil.copytree(prefixes[-1], local, symlinks=True, dirs_exist_ok=True, ignore=ignored)
        _run(["chroot", root, "ldconfig"])
        _run(["chroot", root, "python3", "-m", "ensurepip", "--default-pip"])
    else:
        (root / "usr" / "lib" / f"python{version}" / "EXTERNALLY-MANAGED").unlink()
        for program in ("python", "python3"):
            (local / "bin" / program).symlink_to("/usr/bin/python3")
        (local / "bin" / "pip").symlink_to("/usr/bin/pip3")
    return root


def _import(engine: Engine, name: str, root: Path) -> None:
    archive = root.with_suffix(".tar")
    _run(["tar", "--directory", root, "--numeric-owner", "--create", "--file", archive, "."])
    shutil.rmtree(root)
    settings = ('CMD ["python3"]', "ENV LANG=C.UTF-8", f"ENV PATH={_PATH}")
    engine.output("import", *(part for setting in settings for part in ("--change", setting)), archive, name)
    archive.unlink()


def _run(command: Sequence[str | Path]) -> None:
    process = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert process.returncode == 0, f"{command}: {process.stderr}"
