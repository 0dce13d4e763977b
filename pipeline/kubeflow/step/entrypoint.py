"""What every container runs on Kubeflow Pipelines: one executor of TFX, under the launcher's contract.

`python -m pipeline.kubeflow.step.entrypoint --executor_class_path=… --json_serialized_invocation_args={{$}} …`
"""

import argparse
import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from components.verdict import TABLE_FILE
from pipeline.kubeflow.step.executor_input import LocalInput, localize
from pipeline.kubeflow.step.executor_output import globalize, write_output
from pipeline.kubeflow.step.executor_run import run_executor
from pipeline.kubeflow.step.failure import describe_bug, explain
from pipeline.kubeflow.step.files import count_output_files, drop_missing_baseline, make_outputs, require_inputs
from pipeline.kubeflow.step.imports import spare_imports
from pipeline.kubeflow.step.staging import staged

_PROJECT_ROOT = Path(__file__).resolve().parents[3]

# The name of the module is `__main__` in a pod.
_log = logging.getLogger("pipeline.kubeflow.step.entrypoint")

_LOGGERS = (
    "pipeline",
    "components",
    "apache_beam.runners.portability.portable_runner",
    "apache_beam.runners.dataflow",
)
"""Those whose progress is worth a line in the pod's log, besides TFX's: ours, and Beam's that follow remote jobs."""

Json = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a step.

    Args:
        argv: Arguments of the command; those of the process if None.

    Returns:
        The exit code: 0, or 1 after a last line on stderr that begins with `Error: `.
    """
    arguments, beam_args = _parser().parse_known_args(argv)
    _set_up_logging()
    executor_input = json.loads(arguments.json_serialized_invocation_args)
    step = _step_name(executor_input)
    start = time.monotonic()
    try:
        output = _run(arguments, beam_args, executor_input)
    except Exception as error:
        line = explain(error, step)
        if line is None:
            traceback.print_exception(error)
            line = f"{step}: {describe_bug(error)}"
        print(f"Error: {line}", file=sys.stderr, flush=True)
        return 1
    _log.info("%s: done in %.1f s; outputs: %s", step, time.monotonic() - start, "; ".join(_described(output)))
    return 0


def _described(output: Json) -> Iterator[str]:
    for key, found in output["artifacts"].items():
        for artifact in found["artifacts"]:
            yield f"{key} {artifact['uri']} {json.dumps(artifact['metadata'], ensure_ascii=False)}"


def _set_up_logging() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)


def _run(arguments: argparse.Namespace, beam_args: Sequence[str], executor_input: Json) -> Json:
    inputs_spec = json.loads(arguments.json_serialized_inputs_spec_args)
    local = localize(
        executor_input,
        inputs_spec,
        overrides=arguments.override,
        pod_root=arguments.pod_root,
        project_root=_PROJECT_ROOT,
        keep_gs_uris=arguments.keep_gs_uris,
    )
    local = drop_missing_baseline(local)
    require_inputs(local)
    make_outputs(local)
    with _versions(local, arguments.serving_store) as versions:
        with _place(local, arguments.staging_folder) as placed:
            output = run_executor(arguments.executor_class_path, placed, inputs_spec, beam_args)
        _print_verdicts(local)
    output = globalize(output, {**local.uris, **placed.uris, **versions}, count_output_files(local))
    write_output(output, local.output_file)
    return output


@contextmanager
def _versions(local: LocalInput, serving_store: str) -> Iterator[dict[str, str]]:
    if serving_store:
        # It imports pydantic, which most steps do without.
        from pipeline.kubeflow.step.serving_store import mirrored

        with mirrored(serving_store, local.parameters) as uris:
            yield uris
    else:
        yield {}


@contextmanager
def _place(local: LocalInput, staging_folder: Path | None) -> Iterator[LocalInput]:
    if staging_folder is None:
        yield local
    else:
        with staged(local, staging_folder) as moved:
            yield moved


def _print_verdicts(local: LocalInput) -> None:
    for artifacts in local.outputs.values():
        for artifact in artifacts:
            table = Path(artifact["uri"], TABLE_FILE)
            if table.is_file():
                print(table.read_text(encoding="utf-8"), flush=True)


def _step_name(executor_input: Json) -> str:
    # No variable holds it: output URIs are ROOT/PIPELINE/RUN/STEP/UUID/KEY.
    [uri, *_] = [
        artifact["uri"] for found in executor_input["outputs"]["artifacts"].values() for artifact in found["artifacts"]
    ]
    return PurePosixPath(uri).parts[-3]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.kubeflow.step.entrypoint", allow_abbrev=False)
    parser.add_argument("--executor_class_path", required=True, help="class of the executor")
    parser.add_argument("--json_serialized_invocation_args", required=True, help="the ExecutorInput")
    parser.add_argument("--json_serialized_inputs_spec_args", required=True, help="the ComponentInputsSpec")
    parser.add_argument("--override", action="append", default=[], help="PROPERTY[.KEY…]=PARAMETER")
    parser.add_argument("--serving_store", default="", help="URL of the folder of all models' pushed versions")
    parser.add_argument("--staging_folder", type=Path, help="folder shared with workers outside the pod")
    parser.add_argument("--keep_gs_uris", action="store_true", help="leave gs:// to workers outside the pod")
    parser.add_argument("--pod_root", type=Path, default=Path("/"), help="where the launcher's mounts are")
    return parser


if __name__ == "__main__":
    spare_imports(_parser().parse_known_args()[0].executor_class_path)
    sys.exit(main())
