import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.main import main
from registry.signing import TrustPolicy, prepare_private_key
from serving.server.run import AddressError

MEBIBYTE = 2**20


@pytest.fixture
def ended_at_once(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments of servers that stop immediately."""
    served: list[Any] = []

    async def serve(*arguments: Any) -> None:
        served.append(arguments)

    monkeypatch.setattr("serving.server.run.serve", serve)
    return served


def run(workspace: Path, *arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--workspace", str(workspace), "--config", os.devnull, *arguments])
    return ended.value.code


def test_limits_and_ports_are_passed_to_the_server(tmp_path: Path, ended_at_once: list[Any]) -> None:
    limits = ("--max-body", "1", "--max-in-flight", "3", "--max-batch", "2", "--timeout", "0.5")
    assert run(tmp_path, *limits, "--rest-port", "7", "--grpc-port", "8") == 0
    options, addresses, model, _ = ended_at_once[0]
    assert (options.serving_root, model) == (tmp_path / "serving", "digits")
    assert options.max_bytes_in_flight == 3 * MEBIBYTE
    assert (options.max_body_bytes, options.max_batch_size, options.request_timeout_seconds) == (MEBIBYTE, 2, 0.5)
    assert (addresses.host, addresses.rest_port, addresses.grpc_port) == ("127.0.0.1", 7, 8)


def test_all_requests_together_may_take_four_times_the_largest(tmp_path: Path, ended_at_once: list[Any]) -> None:
    assert run(tmp_path, "--max-body", "100") == 0
    assert ended_at_once[0][0].max_bytes_in_flight == 400 * MEBIBYTE


def test_the_largest_request_must_fit_into_the_limit_of_all(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--max-in-flight", "63") == 2
    assert "--max-in-flight 63 is less than --max-body 64" in capfd.readouterr().err


def test_the_server_loads_only_versions_that_the_settings_trust(tmp_path: Path, ended_at_once: list[Any]) -> None:
    key = prepare_private_key(tmp_path / "development-signing-key.pem", None, is_development=True, say=print)
    assert run(tmp_path) == 0
    assert ended_at_once[0][0].trust_policy == TrustPolicy(key, is_development=True)


@pytest.mark.parametrize(
    ("host", "warns"),
    [("127.0.0.1", False), ("localhost", False), ("::1", False), ("0.0.0.0", True), ("a.test", True)],
)
def test_it_warns_if_other_machines_have_access(
    tmp_path: Path, ended_at_once: list[Any], capfd: pytest.CaptureFixture[str], host: str, warns: bool
) -> None:
    assert run(tmp_path, "--host", host) == 0
    assert (f"Warning: {host} is reachable from other machines" in capfd.readouterr().err) is warns


def test_hosts_are_allowed_by_name(tmp_path: Path, ended_at_once: list[Any], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--host", "0.0.0.0", "--allow-host", "Digits.test", "--allow-host", "2001:db8::1") == 0
    assert ended_at_once[0][0].allowed_hosts == {"digits.test", "2001:db8::1"}
    assert "are refused" not in capfd.readouterr().err
    assert run(tmp_path, "--host", "0.0.0.0") == 0
    expected = "refuses REST requests to names and addresses other than localhost and 0.0.0.0; allow those"
    assert expected in capfd.readouterr().err


@pytest.mark.parametrize(
    "host", ["http://digits.test", "digits.test:8501", "127.0.0.1:1", "digits.test; script-src *", "*", ""]
)
def test_an_allowed_host_must_be_a_name(tmp_path: Path, capfd: pytest.CaptureFixture[str], host: str) -> None:
    assert run(tmp_path, "--allow-host", host) == 2
    assert f"{host!r} is not a host name or address; omit scheme and port" in capfd.readouterr().err


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line, limit = b"W jpeg_mem.cc] Premature end of JPEG data.\n", 10_000

    async def serve(*arguments: Any) -> None:
        (log,) = (tmp_path / "logs").iterdir()
        for _ in range(3):
            # Libraries write to the descriptor.
            os.write(2, line * (limit // len(line) + 1))
            while log.stat().st_size > limit:
                await asyncio.sleep(0.01)
        os.write(2, b"the last line\n")

    monkeypatch.setattr("pipeline.cli.serve._MAX_LOG_BYTES", limit)
    monkeypatch.setattr("pipeline.cli.serve._LOG_CHECK_SECONDS", 0.01)
    monkeypatch.setattr("serving.server.run.serve", lambda *arguments: asyncio.wait_for(serve(*arguments), 60))
    assert run(tmp_path) == 0
    log, moved = sorted((tmp_path / "logs").iterdir())
    assert log.read_bytes() == b"the last line\n"
    assert moved.name == f"{log.name}.1"
    assert line in moved.read_bytes()


def test_a_closed_terminal_does_not_stop_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hung_up(line: str, **options: Any) -> None:
        if "file" in options:
            raise OSError(5, "Input/output error")

    async def serve(*arguments: Any) -> None:
        arguments[-1]("digits: version 7 is available")

    monkeypatch.setattr("serving.server.run.serve", serve)
    monkeypatch.setattr("click.echo", hung_up)
    assert run(tmp_path) == 0


def test_an_address_error_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def serve(*arguments: Any) -> None:
        raise AddressError("somewhere: it is taken.")

    monkeypatch.setattr("serving.server.run.serve", serve)
    assert run(tmp_path) == 1
    assert capfd.readouterr().err == "Error: somewhere: it is taken.\n"


def test_a_port_out_of_range_is_a_usage_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--rest-port", "70000") == 2
    assert "70000 is not in the range 0<=x<=65535" in capfd.readouterr().err
