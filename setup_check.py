"""Checks the prerequisites of `make setup`; runs on any Python 3."""

import argparse
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig

OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 13)
# ml-metadata and TFDV for Python 3.12 and 3.13 are built against it.
OLDEST_GLIBC = {(3, 11): (2, 28), (3, 12): (2, 39), (3, 13): (2, 39)}
NEEDED_GIGABYTES = 6


def problems(python, glibc, machine, free_bytes, has_compiler, has_headers, has_venv):
    """Returns the missing prerequisites, each with a fix.

    Args:
        python: Version of Python, such as (3, 11).
        glibc: Version of glibc, such as (2, 36), or None if the system has none.
        machine: Operating system and processor, such as "Linux x86_64".
        free_bytes: Free space of the disk.
        has_compiler: Whether a C++ compiler works.
        has_headers: Whether the headers of this Python are installed.
        has_venv: Whether this Python can create virtual environments.

    Returns:
        A list of texts, empty if nothing is missing.
    """
    found = []
    version = "%d.%d" % python
    if not OLDEST_PYTHON <= python <= NEWEST_PYTHON:
        return [
            "Python %s is not supported: install Python 3.11, 3.12 or 3.13, or select one with make PYTHON=..."
            % version
        ]
    if machine not in ("Linux x86_64", "Darwin arm64"):
        found.append("TFX publishes packages for Linux x86_64 and macOS arm64 only, this is %s." % machine)
    if machine == "Darwin arm64" and python < (3, 12):
        found.append("On macOS TFX needs Python 3.12 or 3.13, this is %s: make PYTHON=python3.13" % version)
    if glibc is None and machine.startswith("Linux"):
        found.append(
            "TFX needs a Linux with glibc, such as Debian, Ubuntu or Fedora; this system has another C library."
        )
    if glibc and glibc < OLDEST_GLIBC[python]:
        needed = "%d.%d" % OLDEST_GLIBC[python]
        found.append("Python %s needs glibc %s, this is %d.%d: use Python 3.11." % ((version, needed) + glibc))
    if not has_compiler:
        found.append("No C++ compiler (pyfarmhash is built from source): install g++ (Debian: apt-get install g++).")
    if not has_headers:
        found.append(
            "The headers of Python %s are missing (Debian: apt-get install python%s-dev)." % (version, version)
        )
    if not has_venv:
        found.append("Python %s lacks ensurepip (Debian: apt-get install python%s-venv)." % (version, version))
    if free_bytes < NEEDED_GIGABYTES * 1e9:
        found.append("%.1f GB of disk space are free, but %d GB are needed." % (free_bytes / 1e9, NEEDED_GIGABYTES))
    return found


def glibc_version():
    """Returns the version of glibc as a pair of numbers, or None if the system has none."""
    name, version = platform.libc_ver()
    return tuple(int(part) for part in version.split(".")[:2]) if name == "glibc" else None


def has_working_compiler():
    """Returns whether `$CXX`, c++, g++ or clang++ runs."""
    for name in [os.environ.get("CXX", "c++"), "g++", "clang++"]:
        if shutil.which(name) and subprocess.call([name, "--version"], stdout=-3, stderr=-3) == 0:
            return True
    return False


def main():
    """Prints the missing prerequisites, and exits with 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quiet", action="store_true", help="check only the Python version and print nothing")
    quiet = parser.parse_args().quiet
    found = problems(
        python=sys.version_info[:2],
        glibc=glibc_version(),
        machine="%s %s" % (platform.system(), platform.machine()),
        free_bytes=float("inf") if quiet else shutil.disk_usage(".").free,
        has_compiler=quiet or has_working_compiler(),
        has_headers=quiet or os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")),
        has_venv=quiet or importlib.util.find_spec("ensurepip") is not None,
    )
    if found and not quiet:
        print("Missing prerequisites:", file=sys.stderr)
        for problem in found:
            print("  - " + problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
