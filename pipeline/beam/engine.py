"""Where the data steps run: the Beam options of the engine."""

from collections.abc import Callable

from pipeline.settings.beam import BeamSettings
from pipeline.settings.settings import Settings

# Without an image for workers, TFX would pack its own sources for them anew in each step, which takes seconds; workers
# here have the environment of the step. None of the runners that get it looks at it.
_NOTHING_TO_PACK = "--sdk_container_image=none"
# It installs what the older TFDV of the Python 3.11 set needs, wherever a worker starts with nothing imported.
_TFX_FIRST = "--beam_plugin=tfx.components"
_JOB_SERVER_SECONDS = 120
"""For an answer of the job server; jobs may take any time."""


def beam_args(settings: Settings) -> list[str]:
    """Returns the Beam options of the engine that the settings choose.

    Args:
        settings: All settings; `beam` is complete, since it has been validated.
    """
    options: dict[str, Callable[[BeamSettings], list[str]]] = {
        "direct": lambda _: direct_runner_args(),
        "flink": _flink_args,
        "spark": _spark_args,
        "dataflow": _dataflow_args,
    }
    return options[settings.beam.engine](settings.beam)


def direct_runner_args() -> list[str]:
    """Returns the options of Beam's own runner, in this process.

    One process is the fastest at this size: each further worker would first spend half a minute on imports. Beam may
    otherwise hand over to Prism, a binary that it downloads at run time.
    """
    return [
        "--runner=DirectRunner",
        "--direct_running_mode=in_memory",
        "--direct_num_workers=1",
        _NOTHING_TO_PACK,
    ]


def _flink_args(beam: BeamSettings) -> list[str]:
    arguments = [
        "--runner=pipeline.beam.flink_runner.FlinkRunner",
        f"--flink_version={beam.flink_version}",
        *_portable_args(beam),
    ]
    if beam.flink_master:
        arguments.append(f"--flink_master={beam.flink_master}")
    if beam.flink_parallelism is not None:
        arguments.append(f"--parallelism={beam.flink_parallelism}")
    if beam.job_server_jar:
        arguments.append(f"--flink_job_server_jar={beam.job_server_jar}")
    return arguments


def _spark_args(beam: BeamSettings) -> list[str]:
    arguments = ["--runner=pipeline.beam.spark_runner.SparkRunner", *_portable_args(beam)]
    if beam.spark_master:
        arguments.append(f"--spark_master_url={beam.spark_master}")
    if beam.job_server_jar:
        arguments.append(f"--spark_job_server_jar={beam.job_server_jar}")
    return arguments


def _portable_args(beam: BeamSettings) -> list[str]:
    workers = (
        ["--environment_type=EXTERNAL", f"--environment_config={beam.worker_pool}"]
        if beam.worker_pool
        else ["--environment_type=LOOPBACK"]
    )
    endpoint = [f"--job_endpoint={beam.job_endpoint}"] if beam.job_endpoint else []
    return [*workers, *endpoint, f"--job_server_timeout={_JOB_SERVER_SECONDS}", _NOTHING_TO_PACK, _TFX_FIRST]


def _dataflow_args(beam: BeamSettings) -> list[str]:
    arguments = [
        "--runner=DataflowRunner",
        f"--project={beam.dataflow_project}",
        f"--region={beam.dataflow_region}",
        f"--temp_location={beam.dataflow_temp_location}",
        f"--sdk_container_image={beam.dataflow_image}",
        # The image holds the whole environment.
        "--sdk_location=container",
        _TFX_FIRST,
    ]
    if beam.dataflow_service_account:
        arguments.append(f"--service_account_email={beam.dataflow_service_account}")
    return arguments
