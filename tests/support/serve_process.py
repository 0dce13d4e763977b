"""Runs `digits serve` in a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class ServeProcess:
    """A running `digits serve`.

    Attributes:
        process: The process.
        lines: What it has printed until it was ready.
    """

    process: "subprocess.Popen[str]"
    lines: list[str]

    def address(self, name: str) -> str:
        """Returns an address that the command prints: `REST`, `gRPC`, `Metrics` or `Web page`."""
        return dict(re.findall(r"^(\S+(?: page)?) +(\S+)$", "".join(self.lines), re.MULTILINE))[name]


@contextmanager
def digits_serve(workspace: Path) -> Iterator[ServeProcess]:
    """Serves a workspace on free ports; terminates the process after the context."""
    options = ["--workspace", str(workspace), "--config", os.devnull, "--rest-port", "0", "--grpc-port", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli.main", "serve", *options],
        cwd=PROJECT_ROOT,
        # Tests and benchmarks serve models that no pipeline has pushed.
        env={**os.environ, "DIGITS_SIGNING__ALLOW_UNVERIFIED": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        lines: list[str] = []
        for line in process.stdout or ():
            lines.append(line)
            if "curl" in line:
                break
        else:
            raise RuntimeError(f"digits serve has ended: {''.join(lines)}")
        try:
            yield ServeProcess(process, lines)
        finally:
            process.terminate()
