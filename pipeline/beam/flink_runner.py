"""Beam's Flink runner with one job server per process, chosen by `--runner=pipeline.beam.flink_runner.FlinkRunner`.

Beam's own starts a job server, a JVM, for each pipeline that it runs, and ends them with the process: seven of them in
one run here. For Spark it keeps one, as this does for Flink.
"""

import logging
from pathlib import Path
from typing import ClassVar

from apache_beam.options.pipeline_options import FlinkRunnerOptions, JobServerOptions, PipelineOptions
from apache_beam.runners.portability import flink_runner
from apache_beam.runners.portability.job_server import JobServer, StopOnExitJobServer
from apache_beam.utils import subprocess_server

from pipeline.beam.job_service import JobServiceRunner, require_java
from pipeline.settings.beam import LOCAL_FLINK

# Flink starts TFMA's hundreds of stages together and gives each its share of these buffers; its own 64 MB are too few.
_LOCAL_CONFIGURATION = "taskmanager.memory.network.min: 512m\ntaskmanager.memory.network.max: 512m\n"


class FlinkRunner(JobServiceRunner, flink_runner.FlinkRunner):
    """Runs pipelines on Flink; Beam makes one for each."""

    _job_servers: ClassVar[dict[str, JobServer]] = {}

    def default_job_server(self, options: PipelineOptions) -> JobServer:
        """Beam calls this where no job server is named.

        Raises:
            RuntimeError: There is no Java to start one with.
        """
        flink_options = options.view_as(FlinkRunnerOptions)
        flink_options.flink_master = self.add_http_scheme(flink_options.flink_master)
        key = f"{flink_options} {options.view_as(JobServerOptions)}"
        if key not in self._job_servers:
            require_java()
            self._job_servers[key] = StopOnExitJobServer(_FlinkJobServer(options))
        return self._job_servers[key]

    @classmethod
    def stop_job_servers(cls) -> None:
        """Ends the job servers before the process does."""
        while cls._job_servers:
            _, server = cls._job_servers.popitem()
            server.stop()


class _FlinkJobServer(flink_runner.FlinkJarJobServer):
    def java_arguments(
        self, job_port: str, artifact_port: str, expansion_port: str, artifacts_dir: str
    ) -> list[str | int]:
        arguments = super().java_arguments(job_port, artifact_port, expansion_port, artifacts_dir)
        if self._master_url != LOCAL_FLINK:
            return arguments
        folder = self.local_temp_dir(prefix="conf")
        Path(folder, "config.yaml").write_text(_LOCAL_CONFIGURATION)
        return [*arguments, "--flink-conf-dir", folder]

    def stop(self) -> None:
        # It ends with the process, when what is logged goes to the terminal again.
        for logger in (type(self).__name__, subprocess_server.__name__):
            logging.getLogger(logger).setLevel(logging.ERROR)
        super().stop()
