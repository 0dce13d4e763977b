"""What needs no Flink; the rest is in tests/flink."""

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.beam.flink_runner import FlinkRunner

LOCAL = ["--runner=pipeline.beam.flink_runner.FlinkRunner", "--flink_master=[local]", "--environment_type=LOOPBACK"]


def test_one_job_server_for_all_pipelines_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    servers = [FlinkRunner().default_job_server(PipelineOptions(LOCAL)) for _ in range(2)]
    assert servers[0] is servers[1]
    other = FlinkRunner().default_job_server(PipelineOptions([*LOCAL, "--flink_job_server_jar=other.jar"]))
    assert other is not servers[0]
    FlinkRunner.stop_job_servers()
    assert FlinkRunner().default_job_server(PipelineOptions(LOCAL)) is not servers[0]
