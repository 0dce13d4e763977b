from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.worker import data_plane
from apache_beam.utils.subprocess_server import pick_port

RUNNERS = [
    ("pipeline.beam.flink_runner.FlinkRunner", "flink"),
    ("pipeline.beam.spark_runner.SparkRunner", "spark"),
]


def run_pipeline(runner: str, *arguments: str) -> None:
    pipeline = beam.Pipeline(options=PipelineOptions([f"--runner={runner}", "--environment_type=LOOPBACK", *arguments]))
    _ = pipeline | beam.Create([1])
    pipeline.run()


@pytest.mark.parametrize(("runner", "engine"), RUNNERS)
def test_a_job_server_that_is_not_there(runner: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("_DEFAULT_SEND_QUEUE_MAX_BYTES", "_DEFAULT_SEND_QUEUE_MAX_ELEMENTS"):
        monkeypatch.setattr(data_plane, limit, 1)
    (port,) = pick_port(None)
    with pytest.raises(
        RuntimeError, match=rf"^beam\.job_endpoint: no job server has answered at localhost:{port} for 1 s"
    ):
        run_pipeline(runner, f"--job_endpoint=localhost:{port}", "--job_server_timeout=1")
    assert (data_plane._DEFAULT_SEND_QUEUE_MAX_BYTES, data_plane._DEFAULT_SEND_QUEUE_MAX_ELEMENTS) == (0, 0)


@pytest.mark.parametrize(("runner", "engine"), RUNNERS)
def test_without_java(runner: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"^beam\.job_endpoint is not set, and there is no Java"):
        run_pipeline(runner, f"--{engine}_job_server_jar=none.jar")


@pytest.mark.parametrize(("runner", "engine"), RUNNERS)
def test_a_jar_that_is_not_there(runner: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    with pytest.raises(RuntimeError, match=r"^beam\.job_server_jar, .*none\.jar.* Set beam\.job_server_jar to a jar"):
        run_pipeline(runner, f"--{engine}_job_server_jar=/none.jar")
