"""Serves Python workers for the machines of a Flink or Spark cluster: `python -m pipeline.beam.worker_pool --port N`.

Beam's own pool, `apache_beam.runners.worker.worker_pool_main`, starts a new Python for each worker, several times per
job. Each imports TFX for half a minute, and fails on Python 3.11, because it does not import TFX first. Machines that
share such a pool also stop each other's workers, because the workers have the same IDs. This pool forks its workers
from a process that has imported TFX; a worker ends when the machine that requested it closes the connection.

Anyone who can reach the pool can run any code in its workers. So, unlike Beam's own pool, it listens on this machine
only, unless `--host` names another interface.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

from pipeline.beam.portable_runner import unbound_send_queues

_PRELOADED = ["tfx.components"]
"""Imported before any other part of TFX: it installs what the older TFDV of the Python 3.11 set needs."""

_STATE_CACHE_BYTES = 100 * 2**20
"""Beam's own default, which it does not pass to a pool."""

_KEEP_CONNECTIONS = [("grpc.http2.max_pings_without_data", 0), ("grpc.http2.max_ping_strikes", 0)]
"""As in Beam's own pool: the connections of idle machines stay open."""

_FORKS = multiprocessing.get_context("forkserver")


class WorkerPool(BeamFnExternalWorkerPoolServicer):
    """Starts a worker for each machine and job that requests one."""

    def StartWorker(  # noqa: N802 (the name is Beam's)
        self, start_worker_request: beam_fn_api_pb2.StartWorkerRequest, unused_context: Any
    ) -> beam_fn_api_pb2.StartWorkerResponse:
        """Forks a worker that connects to the endpoint of the request; called by gRPC."""
        arguments = start_worker_request.control_endpoint.url, start_worker_request.worker_id
        try:
            _FORKS.Process(target=_work, args=arguments, daemon=True).start()
        except OSError as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"No worker could be started: {error}.")
        return beam_fn_api_pb2.StartWorkerResponse()


def main() -> None:
    """Runs until the process receives SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True, help="Port where Flink or Spark requests workers.")
    parser.add_argument("--host", default="localhost", help="Interface to listen on; default: localhost.")
    options = parser.parse_args()
    host = f"[{options.host}]" if ":" in options.host else options.host
    address = f"{host}:{options.port}"

    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    _FORKS.set_forkserver_preload(_PRELOADED)
    # The first fork waits for the imports.
    first = _FORKS.Process(target=int)
    first.start()
    first.join()
    server = grpc.server(ThreadPoolExecutor(), options=_KEEP_CONNECTIONS)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(WorkerPool(), server)
    try:
        server.add_insecure_port(address)
    except RuntimeError:
        sys.exit(f"{address}: the port cannot be opened; choose another with --port, or check --host.")
    server.start()
    print(f"Workers for {address}", file=sys.stderr, flush=True)
    stopped.wait()
    server.stop(0)


def _work(control_endpoint: str, worker_id: str) -> None:
    from apache_beam.runners.worker.sdk_worker import SdkHarness

    unbound_send_queues()
    SdkHarness(control_endpoint, worker_id=worker_id, state_cache_size=_STATE_CACHE_BYTES).run()
    # Threads of TensorFlow and gRPC must not keep a worker alive after its job.
    os._exit(0)


if __name__ == "__main__":
    main()
