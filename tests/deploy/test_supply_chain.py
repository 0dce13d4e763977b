"""What is installed cannot be replaced: digests of images, hashes of packages; and `make audit`."""

import re
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
            "Skipped: the database of vulnerabilities, api.osv.dev, cannot",
        ),
        ("error: The lockfile needs to be updated", 2, 2, "The lockfile needs to be updated"),
    ],
)
def test_an_audit_fails_on_vulnerabilities_but_not_without_network(
    tmp_path: Path, output: str, uv_exit_code: int, exit_code: int, expected: str
) -> None:
    uv = tmp_path / "uv"
    uv.write_text(f"#!/bin/sh\necho {output!r} >&2\nexit {uv_exit_code}\n")
    uv.chmod(0o755)
    audit = subprocess.run(["make", "audit", f"UV={uv}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert audit.returncode == exit_code, audit.stderr
    assert expected in audit.stderr
