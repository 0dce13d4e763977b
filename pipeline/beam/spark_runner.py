"""Beam's Spark runner, chosen by `--runner=pipeline.beam.spark_runner.SparkRunner`."""

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability import spark_runner
from apache_beam.runners.portability.job_server import JobServer

from pipeline.beam.job_service import JobServiceRunner, require_java


class SparkRunner(JobServiceRunner, spark_runner.SparkRunner):
    """Runs pipelines on Spark; Beam keeps one job server per process by itself."""

    def default_job_server(self, options: PipelineOptions) -> JobServer:
        """Beam calls this where no job server is named.

        Raises:
            RuntimeError: There is no Java to start one with.
        """
        require_java()
        return super().default_job_server(options)
