"""What Beam's Python workers need changed to work for Beam's runners on Flink and Spark."""

from apache_beam.runners.worker import data_plane


def unbound_send_queues() -> None:
    """Lets a worker of this process make all of a bundle before anything of it is taken.

    Since https://github.com/apache/beam/pull/38407 they wait when 100 MB are to be sent. Beam's runners in Java wait
    for the end of a bundle before they take what their own queue of 100 messages does not hold
    (`SdkHarnessClient.ActiveBundle.close`), and in batch a bundle is all that one slot gets of a step: with hundreds of
    megabytes, each waits for the other for ever. Without a limit, as they were before, workers hold what is not sent.
    """
    data_plane._DEFAULT_SEND_QUEUE_MAX_BYTES = 0
    data_plane._DEFAULT_SEND_QUEUE_MAX_ELEMENTS = 0
