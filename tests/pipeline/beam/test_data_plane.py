import pytest
from apache_beam.runners.worker import data_plane

from pipeline.beam.data_plane import unbound_send_queues


def test_a_worker_waits_for_nobody_to_take_what_it_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("_DEFAULT_SEND_QUEUE_MAX_BYTES", "_DEFAULT_SEND_QUEUE_MAX_ELEMENTS"):
        monkeypatch.setattr(data_plane, limit, getattr(data_plane, limit))
    limited = data_plane._GrpcDataChannel()
    assert limited._to_send.max_bytes > 0, "Beam has changed: unbound_send_queues may no longer be needed"
    unbound_send_queues()
    channel = data_plane._GrpcDataChannel()
    for send_queue in (channel._to_send, channel._pending_send):
        assert (send_queue.max_bytes, send_queue.max_elements) == (0, 0)
    for opened in (limited, channel):
        opened.close()
