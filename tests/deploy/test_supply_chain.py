"""Nothing that is installed can be replaced: digests of images and hashes of packages; and `make audit`."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_images_have_a_digest() -> None:
    digest = r"@sha256:[0-9a-f]{64}"
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert re.search(rf"^ARG PYTHON_IMAGE=docker\.io/library/python:\S+{digest}$", dockerfile, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"$PYTHON_IMAGE", "python"}
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    assert re.search(rf"image: nginxinc/nginx-unprivileged:\$\{{NGINX_TAG:-[\w.-]+{digest}\}}$", compose, re.MULTILINE)


@pytest.mark.parametrize("file", ["Makefile", "deploy/Dockerfile"])
def test_pip_installs_by_hash(file: str) -> None:
    commands = re.findall(r"pip install.*", (ROOT / file).read_text().replace("\\\n", ""))
    assert commands
    assert [command for command in commands if "--require-hashes" not in command and "--offline" not in command] == []


def test_uv_is_the_locked_one() -> None:
    (locked,) = [package for package in _lock() if package["name"] == "uv"]
    text = (ROOT / "requirements-uv.txt").read_text()
    assert re.findall(r"^(\w+)==(\S+)", text, re.MULTILINE) == [("uv", locked["version"])]
    hashes = {each["hash"] for each in [*locked["wheels"], locked["sdist"]]}
    assert set(re.findall(r"--hash=(\S+)", text)) <= hashes


def _lock() -> list[dict]:
    return tomllib.loads((ROOT / "uv.lock").read_text())["package"]


@pytest.mark.parametrize(
    ("output", "uv_exit_code", "exit_code", "expected"),
    [
        ("Found no known vulnerabilities", 0, 0, ""),
        ("pillow 12.3.0 has 1 known vulnerability: GHSA-1", 1, 2, "pillow 12.3.0 has 1 known vulnerability"),
        (
            "error: Request failed after 3 retries",
            2,
            0,
            "Skipped: the vulnerability database, api.osv.dev, cannot",
        ),
        ("error: The lockfile needs to be updated", 2, 2, "The lockfile needs to be updated"),
    ],
)
def test_an_audit_fails_on_vulnerabilities_but_not_without_network(
    tmp_path: Path, output: str, uv_exit_code: int, exit_code: int, expected: str
) -> None:
    uv = tmp_path / "uv"
    _write_program(uv, f"echo {output!r} >&2; exit {uv_exit_code}")
    audit = subprocess.run(["make", "audit", f"UV={uv}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert audit.returncode == exit_code, audit.stderr
    assert expected in audit.stderr


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="needs Debian's dpkg-query")
def test_a_list_of_the_packages_in_the_image(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements-uv.txt", "setup.py", "setup_check.py"):
        shutil.copy(ROOT / name, tmp_path)
    _write_program(tmp_path / "uv", 'for file; do :; done; echo "{}" >"$file"')
    # Runs the command of a container on this machine.
    _write_program(tmp_path / "docker", '[ "$1" != run ] || { shift 3; exec "$@"; }')
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["make", "sbom", f"UV={tmp_path / 'uv'}"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    folder = tmp_path / "build" / "sbom"
    names = {path.name for path in folder.iterdir()}
    assert names == {"environment.cdx.json", "image.cdx.json", "image-debian.cdx.json"}
    debian = json.loads((folder / "image-debian.cdx.json").read_text())
    assert (debian["bomFormat"], debian["specVersion"]) == ("CycloneDX", "1.5")
    (dpkg,) = [component for component in debian["components"] if component["name"] == "dpkg"]
    assert dpkg["purl"].startswith(f"pkg:deb/debian/dpkg@{dpkg['version']}?arch=")


def _write_program(path: Path, command: str) -> None:
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)
