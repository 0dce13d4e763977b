import os
from pathlib import Path
from unittest import mock

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.prism_runner import PrismRunner
from apache_beam.testing.util import assert_that, equal_to
from tfx.utils.dependency_utils import make_beam_dependency_flags

from pipeline.beam.options import beam_args, direct_runner_args
from pipeline.settings.settings import SettingsError, load_settings

DATAFLOW = {
    "engine": "dataflow",
    "dataflow_project": "digits",
    "dataflow_region": "europe-west1",
    "dataflow_temp_location": "gs://bucket/temp",
    "dataflow_image": "europe-docker.pkg.dev/digits/workers:1",
}
FLINK = {"engine": "flink", "job_endpoint": "jobs:8099", "worker_pool": "localhost:50000"}
SPARK = {"engine": "spark", "job_endpoint": "jobs:8099"}


def arguments(**settings: object) -> list[str]:
    return beam_args(load_settings({"beam": settings}, file=Path(os.devnull)))


def options(**settings: object) -> PipelineOptions:
    """As Beam parses them; Beam would ignore unknown options."""
    parsed = PipelineOptions(arguments(**settings))
    known = parsed.get_all_options(retain_unknown_options=False)
    assert parsed.get_all_options(retain_unknown_options=True).keys() == known.keys()
    return parsed


def test_direct_runner_is_the_default_and_runs_in_this_process_without_prism() -> None:
    assert arguments() == direct_runner_args()
    with mock.patch.object(PrismRunner, "run_pipeline") as run_prism, beam.Pipeline(options=options()) as pipeline:
        processes = pipeline | beam.Create([1, 2]) | beam.Map(lambda _: os.getpid()) | beam.Distinct()
        assert_that(processes, equal_to([os.getpid()]))
    run_prism.assert_not_called()


@pytest.mark.parametrize("engine", [{"engine": "direct"}, FLINK, SPARK, DATAFLOW], ids=lambda values: values["engine"])
def test_tfx_does_not_pack_its_sources(engine: dict[str, str]) -> None:
    assert make_beam_dependency_flags(arguments(**engine)) == arguments(**engine)


@pytest.mark.parametrize("engine", [FLINK, SPARK, DATAFLOW], ids=lambda values: values["engine"])
def test_workers_import_tfx_first(engine: dict[str, str]) -> None:
    assert options(**engine).view_as(SetupOptions).beam_plugins == ["tfx.components"]


@pytest.mark.parametrize(
    ("settings", "environment"), [(FLINK, ("EXTERNAL", "localhost:50000")), (SPARK, ("LOOPBACK", None))]
)
def test_job_server_and_workers(settings: dict[str, str], environment: tuple[str, str | None]) -> None:
    portable = options(**settings).view_as(PortableOptions)
    assert portable.job_endpoint == "jobs:8099"
    assert (portable.environment_type, portable.environment_config) == environment


def test_flink_parallelism() -> None:
    assert options(**FLINK, flink_parallelism=8).view_as(FlinkRunnerOptions).parallelism == 8


def test_dataflow() -> None:
    parsed = options(**DATAFLOW, dataflow_service_account="workers@digits.iam.gserviceaccount.com")
    assert parsed.view_as(WorkerOptions).sdk_container_image == DATAFLOW["dataflow_image"]
    cloud = parsed.view_as(GoogleCloudOptions)
    assert (cloud.project, cloud.region, cloud.temp_location) == ("digits", "europe-west1", "gs://bucket/temp")
    assert cloud.service_account_email == "workers@digits.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "flink"}, r"^beam: the engine flink needs beam\.job_endpoint; see docs/scaling\.md"),
        ({"engine": "spark"}, r"^beam: the engine spark needs beam\.job_endpoint"),
        (
            {key: value for key, value in DATAFLOW.items() if key not in ("dataflow_region", "dataflow_image")},
            "^beam: the engine dataflow needs beam.dataflow_region and beam.dataflow_image",
        ),
        ({"engine": "ray"}, "^beam.engine: Input should be 'direct', 'flink', 'spark' or 'dataflow'"),
        ({"job_endpoint": "http://jobs:8099"}, "^beam.job_endpoint: expected HOST:PORT, not 'http://jobs:8099'"),
        ({"worker_pool": "localhost"}, "^beam.worker_pool: expected HOST:PORT, not 'localhost'"),
        ({"flink_parallelism": 0}, "^beam.flink_parallelism: Input should be greater than or equal to 1"),
        ({"dataflow_project": "P"}, "^beam.dataflow_project: expected a project ID, such as my-project-1, not 'P'"),
        ({"dataflow_region": "Bad Region"}, "^beam.dataflow_region: expected a region, such as europe-west1, not 'Bad"),
        ({"dataflow_image": "Bad/Image"}, "^beam.dataflow_image: expected .*, not 'Bad/Image'"),
        ({"dataflow_temp_location": "/tmp"}, "^beam.dataflow_temp_location: expected gs://BUCKET/FOLDER, not '/tmp'"),
    ],
)
def test_missing_and_invalid_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        arguments(**settings)
