from pathlib import Path

import pytest

from serving.server.options import ServerOptions


def test_defaults_serve_as_many_requests_at_a_time_as_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert ServerOptions(Path("models")).max_concurrency == 3


def test_all_that_is_out_of_range_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="num_threads: expected 1 or more, not 0; max_queue: .*-1; poll_seconds: .*0"):
        ServerOptions(Path("models"), num_threads=0, max_queue=-1, poll_seconds=0)
