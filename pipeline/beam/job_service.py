"""What Beam's runners on Flink and Spark have in common here: how they come to their job server."""

import shutil

import grpc
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.runners.portability.portable_runner import JobServiceHandle, PortableRunner

from pipeline.beam.data_plane import unbound_send_queues


class JobServiceRunner(PortableRunner):
    """Runs pipelines on a job server; to be put before one of Beam's own such runners."""

    def create_job_service(self, options: PipelineOptions) -> JobServiceHandle:
        """Beam calls this.

        Raises:
            RuntimeError: The job server does not answer, or there is none to start.
        """
        # Without a pool, the workers are threads of this process.
        unbound_send_queues()
        try:
            return super().create_job_service(options)
        except (RuntimeError, ValueError) as error:
            # Beam says only how Beam itself would build one.
            if not str(error).startswith(("Unable to fetch remote job server jar", "Unable to parse jar URL")):
                raise
            raise RuntimeError(
                f"beam.job_server_jar, beam.job_endpoint: there is no job server. {error}. Set beam.job_server_jar to "
                "a jar that is on this machine, or beam.job_endpoint to a job server that runs."
            ) from error
        except grpc.FutureTimeoutError as error:
            portable_options = options.view_as(PortableOptions)
            raise RuntimeError(
                f"beam.job_endpoint: no job server has answered at {portable_options.job_endpoint} for "
                f"{portable_options.job_server_timeout} s; start it, or correct the address."
            ) from error


def require_java() -> None:
    """Makes sure that a job server can be started here.

    Raises:
        RuntimeError: It cannot.
    """
    if shutil.which("java") is None:
        raise RuntimeError(
            "beam.job_endpoint is not set, and there is no Java to start a job server with; install Java 11 or 17, or "
            "name a job server that runs."
        )
