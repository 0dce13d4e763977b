from pathlib import Path

import pytest

from serving.server.interface import ServerOptions


def test_concurrency_defaults_to_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert ServerOptions(Path("models")).max_concurrency == 3


def test_all_limits_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="max_concurrency: expected 1 or more, not 0; max_queue: .*-1; poll_sec"):
        ServerOptions(Path("models"), max_concurrency=0, max_queue=-1, poll_seconds=0)
