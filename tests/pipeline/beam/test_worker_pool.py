import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from apache_beam.utils.subprocess_server import pick_port

ROOT = Path(__file__).parents[3]


def test_pool_serves_until_it_is_stopped_and_leaves_no_process() -> None:
    (port,) = pick_port(None)
    # It starts at once without TFX, which tests/flink covers.
    code = (
        f"import sys; from pipeline.beam import worker_pool as pool; pool._PRELOADED[:] = ['json'];"
        f"sys.argv = ['pool', '--port={port}']; pool.main()"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True) as pool:
        assert pool.stderr is not None
        assert any(re.search(f"Workers for .*:{port}$", line) for line in pool.stderr)
        children = psutil.Process(pool.pid).children(recursive=True)
        pool.send_signal(signal.SIGTERM)
        assert pool.wait(30) == 0
        _, left = psutil.wait_procs(children, timeout=30)
        assert not left
