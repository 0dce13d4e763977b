import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.worker import data_plane
from apache_beam.utils.subprocess_server import pick_port


def test_unreachable_job_server_is_named_and_send_queues_are_unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("_DEFAULT_SEND_QUEUE_MAX_BYTES", "_DEFAULT_SEND_QUEUE_MAX_ELEMENTS"):
        monkeypatch.setattr(data_plane, limit, getattr(data_plane, limit))
    limited = data_plane._GrpcDataChannel()
    assert limited._to_send.max_bytes > 0, "Beam has changed: unbound_send_queues may no longer be needed"
    (port,) = pick_port(None)
    runner = "--runner=pipeline.beam.portable_runner.PortableRunner"
    options = [runner, "--environment_type=LOOPBACK", f"--job_endpoint=localhost:{port}", "--job_server_timeout=1"]
    pipeline = beam.Pipeline(options=PipelineOptions(options))
    _ = pipeline | beam.Create([1])
    with pytest.raises(
        RuntimeError, match=rf"^beam\.job_endpoint: no job server responded at localhost:{port} within 1"
    ):
        pipeline.run()
    channel = data_plane._GrpcDataChannel()
    for send_queue in (channel._to_send, channel._pending_send):
        assert (send_queue.max_bytes, send_queue.max_elements) == (0, 0)
    for opened in (limited, channel):
        opened.close()
