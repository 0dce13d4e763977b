"""What Beam's runners on Flink and Spark have in common here: how they come to their job server."""

import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.runners.portability.portable_runner import JobServiceHandle, PortableRunner

from pipeline.beam_data_plane import unbound_send_queues


class JobServiceRunner(PortableRunner):
    """Runs pipelines on a job server; to be put before one of Beam's own such runners."""

    def create_job_service(self, options: PipelineOptions) -> JobServiceHandle:
        """Beam calls this.

        Raises:
            RuntimeError: The job server does not answer.
        """
        # Without a pool, the workers are threads of this process.
        unbound_send_queues()
        try:
            return super().create_job_service(options)
        except grpc.FutureTimeoutError as error:
            portable_options = options.view_as(PortableOptions)
            raise RuntimeError(
                f"beam.job_endpoint: no job server has answered at {portable_options.job_endpoint} for "
                f"{portable_options.job_server_timeout} s; start it, or correct the address."
            ) from error
