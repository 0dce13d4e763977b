"""Beam's Spark runner, chosen by `--runner=pipeline.spark_runner.SparkRunner`."""

from apache_beam.runners.portability import spark_runner

from pipeline.job_service import JobServiceRunner


class SparkRunner(JobServiceRunner, spark_runner.SparkRunner):
    """Runs pipelines on Spark; Beam keeps one job server per process by itself."""
