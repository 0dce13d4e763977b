import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.worker import data_plane
from apache_beam.utils.subprocess_server import pick_port


@pytest.mark.parametrize("runner", ["pipeline.flink_runner.FlinkRunner", "pipeline.spark_runner.SparkRunner"])
def test_a_job_server_that_is_not_there(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("_DEFAULT_SEND_QUEUE_MAX_BYTES", "_DEFAULT_SEND_QUEUE_MAX_ELEMENTS"):
        monkeypatch.setattr(data_plane, limit, 1)
    (port,) = pick_port(None)
    server = [f"--job_endpoint=localhost:{port}", "--job_server_timeout=1"]
    options = PipelineOptions([f"--runner={runner}", "--environment_type=LOOPBACK", *server])
    pipeline = beam.Pipeline(options=options)
    _ = pipeline | beam.Create([1])
    with pytest.raises(
        RuntimeError, match=rf"^beam\.job_endpoint: no job server has answered at localhost:{port} for 1 s"
    ):
        pipeline.run()
    assert (data_plane._DEFAULT_SEND_QUEUE_MAX_BYTES, data_plane._DEFAULT_SEND_QUEUE_MAX_ELEMENTS) == (0, 0)
