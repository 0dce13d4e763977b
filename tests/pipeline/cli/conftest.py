"""Runs `digits` commands in this process and reads the tables that they print."""

import re
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import main


@pytest.fixture
def digits() -> Callable[..., Result]:
    """Runs a command; its arguments need not be strings."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def table_rows() -> Callable[[str], list[list[str]]]:
    """Returns the cells of each line of a table, without rules and empty lines."""

    def read(table: str) -> list[list[str]]:
        lines = [line.strip() for line in table.splitlines()]
        return [re.split(r" {2,}", line) for line in lines if line and not set(line) <= {" ", "─"}]

    return read
