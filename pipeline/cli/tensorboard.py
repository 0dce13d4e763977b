"""The `digits tensorboard` command."""

import os
import signal
import sys
import tempfile
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import config_option, settings_from_options, workspace_option
from registry.errors import ExpectedError

if TYPE_CHECKING:
    from pipeline.local.metadata import Run
    from pipeline.settings.settings import Settings


class TensorBoardError(ExpectedError):
    """TensorBoard has nothing to show, or cannot start; the message gives the reason."""


@click.command()
@workspace_option
@config_option
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port; 0 for any free port.  [default: the first free from 6006 on]"
)
@click.option("--open", "open_browser", is_flag=True, help="Open it in the browser.")
def tensorboard(workspace: str | None, config: Path | None, port: int | None, open_browser: bool) -> None:
    """Show the training of all runs in TensorBoard, with their hyperparameters."""
    from pipeline.local.display import library_output_to

    settings = settings_from_options(config, workspace=workspace)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="digits-tensorboard-") as folder, suppress(KeyboardInterrupt):
        link_logs(settings, Path(folder))
        with library_output_to(Path(os.devnull), sys.stdout) as terminal:
            url = _start(folder, port)
            click.echo(f"TensorBoard with the runs of {settings.workspace}: {url} (Ctrl+C stops)", file=terminal)
            if open_browser:
                webbrowser.open(url)
            threading.Event().wait()


def link_logs(settings: "Settings", folder: Path) -> None:
    """Links the TensorBoard logs of all runs of a workspace that have trained, also of the one in progress.

    Args:
        settings: The settings with the workspace.
        folder: Where to make the links, named by run; TensorBoard shows the names.

    Raises:
        TensorBoardError: No run has trained.
    """
    from pipeline.local.metadata import list_runs

    for run in list_runs(settings.metadata_file):
        for step in run.steps:
            logs = settings.pipeline_root / "Trainer" / "model_run" / str(step.execution_id)
            # If Trainer came from the cache, the logs belong to an earlier run.
            if step.name == "Trainer" and logs.exists():
                (folder / _run_name(run)).symlink_to(logs.absolute(), target_is_directory=True)
    if not any(folder.iterdir()):
        raise TensorBoardError(f"{settings.workspace}: no run has trained a model yet; start one with `digits run`.")


def _run_name(run: "Run") -> str:
    version = "" if run.version is None else f" {run.version}"
    return f"{run.started:%Y-%m-%d %H:%M:%S} {run.outcome}{version}"


def _start(folder: str, port: int | None) -> str:
    """Starts TensorBoard in threads of this process and returns its URL."""
    from tensorboard import program

    server = program.TensorBoard()
    server.configure(logdir=folder, port=port)
    try:
        url: str = server.launch()
    except program.TensorBoardServerException as error:
        raise TensorBoardError(f"{error.msg}; choose another one with --port.") from error
    return url
