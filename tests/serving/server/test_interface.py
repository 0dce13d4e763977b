from pathlib import Path

import pytest

from serving.server.interface import ServerOptions


def test_concurrency_defaults_to_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert ServerOptions(Path("models")).max_concurrency == 3
