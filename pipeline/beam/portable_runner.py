"""Beam's portable runner, adapted to TFX's pipelines: `--runner=pipeline.beam.portable_runner.PortableRunner`."""

import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.runners.portability import portable_runner
from apache_beam.runners.worker import data_plane


class PortableRunner(portable_runner.PortableRunner):
    """Runs pipelines through the job server of a Flink or Spark cluster."""

    def create_job_service(self, options: PipelineOptions) -> portable_runner.JobServiceHandle:
        """Connects to the job server; called by Beam.

        Raises:
            RuntimeError: The job server does not respond.
        """
        # Without a worker pool, the workers are threads of this process.
        unbound_send_queues()
        try:
            return super().create_job_service(options)
        except grpc.FutureTimeoutError as error:
            portable_options = options.view_as(PortableOptions)
            raise RuntimeError(
                f"beam.job_endpoint: no job server responded at {portable_options.job_endpoint} within "
                f"{portable_options.job_server_timeout} s; start it, or correct the address."
            ) from error


def unbound_send_queues() -> None:
    """Lets the workers of this process finish a bundle before the cluster reads any of it.

    Since https://github.com/apache/beam/pull/38407, a worker waits when it has 100 MB to send. Beam's runners in Java
    read only 100 messages before the bundle ends (`SdkHarnessClient.ActiveBundle.close`). In batch mode, a bundle is
    everything that one slot processes in a step: with hundreds of megabytes, both sides wait for each other forever.
    Without the limit, as in earlier versions of Beam, workers keep in memory what is not sent yet.
    """
    data_plane._DEFAULT_SEND_QUEUE_MAX_BYTES = 0
    data_plane._DEFAULT_SEND_QUEUE_MAX_ELEMENTS = 0
