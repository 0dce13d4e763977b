import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from apache_beam.utils.subprocess_server import pick_port

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("options", "interfaces"),
    [([], {"127.0.0.1", "::1"}), (["--host=127.0.0.1"], {"127.0.0.1"}), (["--host=0.0.0.0"], {"0.0.0.0", "::"})],
)
def test_pool_serves_until_it_is_stopped_and_leaves_no_process(options: list[str], interfaces: set[str]) -> None:
    (port,) = pick_port(None)
    # It starts at once without TFX, which tests/flink covers.
    code = (
        f"import sys; from pipeline.beam import worker_pool as pool; pool._PRELOADED[:] = ['json'];"
        f"sys.argv = {['pool', f'--port={port}', *options]}; pool.main()"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True) as pool:
        assert pool.stderr is not None
        assert any(re.search(f"Workers for .*:{port}$", line) for line in pool.stderr)
        connections = psutil.Process(pool.pid).net_connections()
        children = psutil.Process(pool.pid).children(recursive=True)
        pool.send_signal(signal.SIGTERM)
        assert pool.wait(30) == 0
        _, left = psutil.wait_procs(children, timeout=30)
        assert not left
    # gRPC writes IPv4 addresses as IPv6.
    listening = {each.laddr.ip.removeprefix("::ffff:") for each in connections if each.laddr.port == port}
    assert listening
    assert listening <= interfaces


def test_a_port_in_use_is_reported() -> None:
    code = (
        "import sys, socket; from pipeline.beam import worker_pool as pool; pool._PRELOADED[:] = ['json'];"
        "taken = socket.create_server(('127.0.0.1', 0)); port = taken.getsockname()[1];"
        "sys.argv = ['pool', '--host=127.0.0.1', f'--port={port}']; pool.main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert re.search(
        r"^127.0.0.1:\d+: the port cannot be opened; choose another with --port", ended.stderr, re.MULTILINE
    )
