"""Serves the pushed models on the command line, for development."""

import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import TextIO

import click

from pipeline.cli.options import config_option, is_loopback, settings_from_options, workspace_option
from registry.signatures import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT, MAX_BATCH

_MEBIBYTE = 1024 * 1024
_MAX_LOG_BYTES = _MEBIBYTE // 2
_LOG_CHECK_SECONDS = 0.5

_port = click.IntRange(0, 65535)


def _host_names(_context: click.Context, _option: click.Parameter, hosts: tuple[str, ...]) -> frozenset[str]:
    for host in hosts:
        if not re.fullmatch(r"[\w.-]+|[\da-fA-F]*:[\da-fA-F]*:[\da-fA-F:.]*", host, re.ASCII):
            raise click.BadParameter(f"{host!r} is not a host name or address; omit scheme and port.")
    return frozenset(host.lower() for host in hosts)


@click.command()
@workspace_option
@config_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Interface to listen on.")
@click.option(
    "--allow-host",
    "allowed_hosts",
    metavar="NAME",
    multiple=True,
    callback=_host_names,
    help="Name or address that browsers and REST clients may use for the server, in addition to localhost and --host; "
    "pages from there may use the server. Can be repeated.",
)
@click.option(
    "--rest-port", type=_port, default=DEFAULT_REST_PORT, show_default=True, help="REST port; 0 for any free port."
)
@click.option(
    "--grpc-port", type=_port, default=DEFAULT_GRPC_PORT, show_default=True, help="gRPC port; 0 for any free port."
)
@click.option(
    "--max-body", type=click.IntRange(1, 1024), default=64, show_default=True, help="Maximum size of a request, in MiB."
)
@click.option(
    "--max-in-flight",
    type=click.IntRange(1),
    help="Maximum size of all requests in progress, in MiB.  [default: four times --max-body]",
)
@click.option(
    "--max-batch",
    type=click.IntRange(min=1),
    default=max(MAX_BATCH.values()),
    show_default=True,
    help="Maximum number of images per request.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=30,
    show_default=True,
    help="Timeout of a request, in seconds.",
)
def serve(
    workspace: str | None,
    config: Path | None,
    host: str,
    allowed_hosts: frozenset[str],
    rest_port: int,
    grpc_port: int,
    max_body: int,
    max_in_flight: int | None,
    max_batch: int,
    timeout: float,
) -> None:
    """Serve the pushed models over REST and gRPC, with a drawing page.

    This is a development server with TF Serving's APIs. It needs no Docker and loads new versions as they are pushed.
    For production, use TF Serving: docs/serving.md.
    """
    from pipeline.local.display import library_output_to

    max_in_flight = max_in_flight or 4 * max_body
    if max_in_flight < max_body:
        raise click.UsageError(
            f"--max-in-flight {max_in_flight} is less than --max-body {max_body}, the maximum size of one request."
        )
    settings = settings_from_options(config, workspace=workspace)
    log_file = settings.log_directory / f"serve-{datetime.now():%Y%m%d-%H%M%S-%f}.log"
    click.echo("This is a development server. For production, use TF Serving: docs/serving.md.")
    if not is_loopback(host):
        click.echo(f"Warning: {host} is reachable from other machines, without authentication or encryption.", err=True)
        if not allowed_hosts:
            click.echo(
                f"The server refuses REST requests to names and addresses other than localhost and {host}; allow those "
                "that clients use with --allow-host.",
                err=True,
            )
    click.echo(f"Loading models from {settings.serving_root} (Ctrl+C stops; log: {log_file})")
    # A missing folder cannot be watched, and the first run needs it anyway.
    settings.serving_root.mkdir(parents=True, exist_ok=True)
    with library_output_to(log_file, sys.stdout) as terminal, _limited(log_file):
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s")
        import uvloop

        from serving.server import run
        from serving.server.interface import ServerOptions

        options = ServerOptions(
            settings.serving_root,
            settings.trust_policy,
            max_body_bytes=max_body * _MEBIBYTE,
            max_bytes_in_flight=max_in_flight * _MEBIBYTE,
            max_batch_size=max_batch,
            request_timeout_seconds=timeout,
            allowed_hosts=allowed_hosts,
        )
        addresses = run.Addresses(host, rest_port, grpc_port)
        uvloop.run(run.serve(options, addresses, settings.name, partial(_print_line, terminal)))


@contextmanager
def _limited(log_file: Path) -> Iterator[None]:
    """Moves the lines of a log to `.1` when it gets too large, because clients can cause any number of lines."""
    stopped = Event()

    def limit() -> None:
        while not stopped.wait(_LOG_CHECK_SECONDS):
            # Somebody may have removed the file.
            with suppress(FileNotFoundError):
                if log_file.stat().st_size > _MAX_LOG_BYTES:
                    # C++ libraries keep the file open, so it cannot be replaced. A full disk must not keep it full.
                    with suppress(OSError):
                        shutil.copyfile(log_file, f"{log_file}.1")
                    os.truncate(log_file, 0)

    thread = Thread(target=limit, name="log limit")
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _print_line(terminal: TextIO, line: str) -> None:
    try:
        click.echo(line, file=terminal)
    except OSError:
        # The terminal is gone, which must not stop the server, now or with later lines.
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), terminal.fileno())
