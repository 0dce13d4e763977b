"""AtomicPusher as TFX runs it: artifacts, parameters and the id of the run come from TFX itself."""

import shutil
from pathlib import Path
from typing import Any

from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2
from tfx.types import Artifact
from tfx.types.standard_artifacts import Examples, ExampleStatistics, InfraBlessing, Model, ModelBlessing

from components.pusher.component import AtomicPusher
from components.verdict import Finding, Verdict, write_verdict
from components.verdict_artifact import VerdictArtifact
from registry.provenance import DataOrigin, Ingredients, read_provenance
from registry.versions import list_versions

INGREDIENTS = Ingredients(data=DataOrigin(uri="/data/span-3", span=3, fingerprint="ab"), code={"Trainer": "cd"})


def imported(directory: Path, kind: type[Artifact], **properties: Any) -> BaseNode:
    directory.mkdir(parents=True, exist_ok=True)
    return Importer(str(directory), kind, custom_properties=properties).with_id(directory.name)


def run(tmp_path: Path) -> None:
    model = imported(tmp_path / "Model", Model)
    blessing = imported(tmp_path / "Blessing", ModelBlessing, blessed=1)
    infra_blessing = imported(tmp_path / "InfraBlessing", InfraBlessing, blessed=1)
    examples = Importer(
        str(tmp_path / "Examples"),
        Examples,
        properties={"span": 3},
        custom_properties={"uri": "/data/span-3", "fingerprint": "ab"},
    ).with_id("Examples")
    statistics = Importer(
        str(tmp_path / "Statistics"),
        ExampleStatistics,
        properties={"split_names": '["train"]'},
        # TFX takes files of artifacts that do not tell its version to be laid out as they were years ago.
        custom_properties={"tfx_version": "1.21.0"},
    ).with_id("Statistics")
    verdict = imported(tmp_path / "Verdict", VerdictArtifact)
    filesystem = pusher_pb2.PushDestination.Filesystem(base_directory=str(tmp_path / "serving" / "digits"))
    pusher = AtomicPusher(
        model.outputs["result"],
        pusher_pb2.PushDestination(filesystem=filesystem),
        {"Trainer": "cd"},
        model_blessing=blessing.outputs["result"],
        infra_blessing=infra_blessing.outputs["result"],
        examples=examples.outputs["result"],
        statistics=statistics.outputs["result"],
        data_verdict=verdict.outputs["result"],
        evaluation_verdict=verdict.outputs["result"],
        robustness_verdict=verdict.outputs["result"],
        serving_verdict=verdict.outputs["result"],
    )
    pipeline = Pipeline(
        pipeline_name="digits",
        pipeline_root=str(tmp_path / "root"),
        components=[model, blessing, infra_blessing, examples, statistics, verdict, pusher],
        metadata_connection_config=sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite")),
        enable_cache=True,
    )
    LocalDagRunner().run(pipeline)


def test_a_model_is_pushed_once(tmp_path: Path) -> None:
    (tmp_path / "Model" / "Format-Serving").mkdir(parents=True)
    (tmp_path / "Model" / "Format-Serving" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "Examples").mkdir()
    (tmp_path / "Statistics" / "Split-train").mkdir(parents=True)
    (tmp_path / "Statistics" / "Split-train" / "FeatureStats.pb").write_bytes(b"statistics")
    (tmp_path / "Verdict").mkdir()
    write_verdict(Verdict("DataGate", (Finding("examples", "train", passed=True),), ""), tmp_path / "Verdict")
    run(tmp_path)
    (version,) = list_versions(tmp_path / "serving" / "digits")
    provenance = read_provenance(version.directory)
    assert provenance
    assert provenance.origin.pipeline_run
    assert provenance.origin.ingredients == INGREDIENTS
    assert [gate.gate for gate in provenance.origin.gates] == ["DataGate"] * 4
    (archive,) = (tmp_path / "root").glob("AtomicPusher/pushed_model/*")
    assert (archive / "saved_model.pb").read_bytes() == b"graph"
    # Unchanged, it is answered from the cache.
    run(tmp_path)
    assert list_versions(tmp_path / "serving" / "digits") == [version]
    # A deleted version is pushed again, once.
    shutil.rmtree(version.directory)
    run(tmp_path)
    versions = list_versions(tmp_path / "serving" / "digits")
    assert len(versions) == 1
    run(tmp_path)
    assert list_versions(tmp_path / "serving" / "digits") == versions
