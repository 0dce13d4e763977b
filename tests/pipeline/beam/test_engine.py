import os
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    SparkRunnerOptions,
    WorkerOptions,
)
from apache_beam.testing.util import assert_that, equal_to
from tfx.utils.dependency_utils import make_beam_dependency_flags

from pipeline.beam.engine import beam_args, direct_runner_args
from pipeline.settings.settings import SettingsError, load_settings

DATAFLOW = {
    "engine": "dataflow",
    "dataflow_project": "digits",
    "dataflow_region": "europe-west1",
    "dataflow_temp_location": "gs://bucket/temp",
    "dataflow_image": "europe-docker.pkg.dev/digits/workers:1",
}
FLINK = {"engine": "flink", "flink_master": "http://flink:8081", "worker_pool": "localhost:50000"}
SPARK = {"engine": "spark", "spark_master": "spark://spark:7077"}


def arguments(**settings: object) -> list[str]:
    return beam_args(load_settings({"beam": settings}, file=Path(os.devnull)))


def options(**settings: object) -> PipelineOptions:
    """As Beam reads them; what Beam does not know, it would ignore."""
    parsed = PipelineOptions(arguments(**settings))
    known = parsed.get_all_options(retain_unknown_options=False)
    assert parsed.get_all_options(retain_unknown_options=True).keys() == known.keys()
    return parsed


def test_beam_runs_in_this_process_unless_another_engine_is_chosen() -> None:
    assert arguments() == direct_runner_args()
    parsed = options()
    assert parsed.view_as(DirectOptions).direct_running_mode == "in_memory"
    with beam.Pipeline(options=parsed) as pipeline:
        processes = pipeline | beam.Create([1, 2]) | beam.Map(lambda _: os.getpid()) | beam.Distinct()
        assert_that(processes, equal_to([os.getpid()]))


@pytest.mark.parametrize("engine", [{"engine": "direct"}, FLINK, SPARK, DATAFLOW], ids=lambda values: values["engine"])
def test_tfx_packs_no_sources_for_workers_that_have_them(engine: dict[str, str]) -> None:
    assert make_beam_dependency_flags(arguments(**engine)) == arguments(**engine)


def test_flink_with_a_pool_of_workers_beside_each_task_manager() -> None:
    parsed = options(**FLINK, flink_parallelism=8, job_endpoint="jobs:8099")
    assert parsed.view_as(FlinkRunnerOptions).flink_master == "http://flink:8081"
    assert parsed.view_as(FlinkRunnerOptions).flink_version == "1.19"
    assert parsed.view_as(FlinkRunnerOptions).parallelism == 8
    portable = parsed.view_as(PortableOptions)
    assert (portable.environment_type, portable.environment_config) == ("EXTERNAL", "localhost:50000")
    assert portable.job_endpoint == "jobs:8099"


def test_flink_on_this_machine_works_in_the_process_of_the_step() -> None:
    parsed = options(engine="flink", flink_master="[local]", job_server_jar="/jars/server.jar")
    assert parsed.view_as(PortableOptions).environment_type == "LOOPBACK"
    assert parsed.view_as(FlinkRunnerOptions).flink_job_server_jar == "/jars/server.jar"


def test_spark() -> None:
    parsed = options(**SPARK, worker_pool="localhost:50000", job_server_jar="/jars/server.jar")
    assert parsed.view_as(SparkRunnerOptions).spark_master_url == "spark://spark:7077"
    assert parsed.view_as(SparkRunnerOptions).spark_job_server_jar == "/jars/server.jar"
    assert parsed.view_as(PortableOptions).environment_type == "EXTERNAL"


@pytest.mark.parametrize("engine", [FLINK, SPARK, DATAFLOW], ids=lambda values: values["engine"])
def test_workers_import_tfx_first(engine: dict[str, str]) -> None:
    assert options(**engine).view_as(SetupOptions).beam_plugins == ["tfx.components"]


def test_dataflow() -> None:
    parsed = options(**DATAFLOW, dataflow_service_account="workers@digits.iam.gserviceaccount.com")
    assert parsed.view_as(WorkerOptions).sdk_container_image == DATAFLOW["dataflow_image"]
    cloud = parsed.view_as(GoogleCloudOptions)
    assert (cloud.project, cloud.region, cloud.temp_location) == ("digits", "europe-west1", "gs://bucket/temp")
    assert cloud.service_account_email == "workers@digits.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"engine": "flink"},
            r"^beam: the engine flink needs beam.flink_master or, of a job server that runs, beam.job_endpoint\.$",
        ),
        ({"engine": "spark"}, "^beam: the engine spark needs beam.spark_master"),
        (
            {key: value for key, value in DATAFLOW.items() if key not in ("dataflow_region", "dataflow_image")},
            "^beam: the engine dataflow needs beam.dataflow_region and beam.dataflow_image",
        ),
        ({"engine": "ray"}, "^beam.engine: Input should be 'direct', 'flink', 'spark' or 'dataflow'"),
        ({"job_endpoint": "http://jobs:8099"}, "^beam.job_endpoint: expected HOST:PORT, not 'http://jobs:8099'"),
        ({"worker_pool": "localhost"}, "^beam.worker_pool: expected HOST:PORT, not 'localhost'"),
        ({"flink_master": "flink"}, r"^beam.flink_master: expected http://HOST:PORT or \[local\], not 'flink'"),
        ({"flink_version": "1.18"}, "^beam.flink_version: Input should be '1.19', '1.20', '2.0', '2.1' or '2.2'"),
        ({"flink_parallelism": 0}, "^beam.flink_parallelism: Input should be greater than or equal to 1"),
        ({"spark_master": "yarn"}, r"^beam.spark_master: expected spark://HOST:PORT or local\[N\], not 'yarn'"),
        ({"dataflow_project": "P"}, "^beam.dataflow_project: expected a project ID, such as my-project-1, not 'P'"),
        ({"dataflow_region": "Bad Region"}, "^beam.dataflow_region: expected a region, such as europe-west1, not 'Bad"),
        ({"dataflow_image": "Bad/Image"}, "^beam.dataflow_image: expected .*, not 'Bad/Image'"),
        ({"dataflow_temp_location": "/tmp"}, "^beam.dataflow_temp_location: expected gs://BUCKET/FOLDER, not '/tmp'"),
    ],
)
def test_what_is_missing_or_wrong_is_refused_by_its_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        arguments(**settings)


def test_a_job_server_that_runs_knows_its_cluster() -> None:
    assert options(engine="flink", job_endpoint="jobs:8099").view_as(PortableOptions).job_endpoint == "jobs:8099"
