"""Converts the settings of the Beam engine to Beam's options."""

from pipeline.settings.beam import BeamSettings
from pipeline.settings.settings import Settings

# Otherwise TFX packs its sources for the workers in each step, which takes seconds. Workers have the environment of the
# step; no runner that receives this option uses it.
_NOTHING_TO_PACK = "--sdk_container_image=none"
# It installs what the older TFDV of the Python 3.11 set needs before a worker imports anything else.
_TFX_FIRST = "--beam_plugin=tfx.components"
# Checking the types takes a tenth of the time of a step. The other engines check them.
_WITHOUT_TYPE_CHECK = "--no_pipeline_type_check"
_JOB_SERVER_SECONDS = 120
"""Timeout for a response from the job server, not for a job."""


def beam_args(settings: Settings) -> list[str]:
    """Returns Beam's options for the engine in the settings."""
    beam = settings.beam
    if beam.engine == "dataflow":
        return _dataflow_args(beam)
    if beam.engine == "direct":
        return direct_runner_args()
    return _portable_args(beam)


def direct_runner_args() -> list[str]:
    """Returns the options of Beam's own runner, in this process.

    One process is the fastest at this size: each further worker needs half a minute for its imports. `DirectRunner`
    would first try Prism, a binary that it downloads at run time.
    """
    return ["--runner=FnApiRunner", _WITHOUT_TYPE_CHECK, _NOTHING_TO_PACK]


def _portable_args(beam: BeamSettings) -> list[str]:
    arguments = [
        "--runner=pipeline.beam.portable_runner.PortableRunner",
        f"--job_endpoint={beam.job_endpoint}",
        f"--job_server_timeout={_JOB_SERVER_SECONDS}",
        _NOTHING_TO_PACK,
        _TFX_FIRST,
    ]
    if beam.worker_pool:
        arguments += ["--environment_type=EXTERNAL", f"--environment_config={beam.worker_pool}"]
    else:
        arguments.append("--environment_type=LOOPBACK")
    if beam.engine == "flink" and beam.flink_parallelism is not None:
        arguments.append(f"--parallelism={beam.flink_parallelism}")
    return arguments


def _dataflow_args(beam: BeamSettings) -> list[str]:
    arguments = [
        "--runner=DataflowRunner",
        f"--project={beam.dataflow_project}",
        f"--region={beam.dataflow_region}",
        f"--temp_location={beam.dataflow_temp_location}",
        f"--sdk_container_image={beam.dataflow_image}",
        # The image contains the whole environment.
        "--sdk_location=container",
        _TFX_FIRST,
    ]
    if beam.dataflow_service_account:
        arguments.append(f"--service_account_email={beam.dataflow_service_account}")
    return arguments
