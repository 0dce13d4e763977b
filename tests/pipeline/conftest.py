"""A metadata database with records such as TFX writes, and a compiled pipeline."""

import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from pipeline.settings.settings import load_settings
from tests.support.metadata_store import create_store

AddRun = Callable[..., None]


@pytest.fixture
def store(tmp_path: Path) -> MetadataStore:
    """The database of a workspace that is `tmp_path`."""
    return create_store(tmp_path)


@pytest.fixture
def add_run(store: MetadataStore) -> AddRun:
    """Adds a run with one execution per step; the last one pushes a version if one is given."""
    put_type = {
        name: store.put_context_type(metadata_store_pb2.ContextType(name=name)) for name in ("pipeline_run", "node")
    }
    step_type = store.put_execution_type(metadata_store_pb2.ExecutionType(name="tfx.Step"))
    pushed_type = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="PushedModel"))

    def add(run_id: str, steps: dict[str, int], version: str | None = None) -> None:
        for number, (name, state) in enumerate(steps.items()):
            outputs = []
            if version and number == len(steps) - 1:
                artifact = metadata_store_pb2.Artifact(type_id=pushed_type, uri=f"pushed/{version}")
                artifact.custom_properties["pushed_version"].string_value = version
                event = metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)
                event.path.steps.add(key="pushed_model")
                outputs.append((artifact, event))
            contexts = [
                metadata_store_pb2.Context(type_id=put_type["pipeline_run"], name=run_id),
                metadata_store_pb2.Context(type_id=put_type["node"], name=f"digits.{name}"),
            ]
            execution = metadata_store_pb2.Execution(type_id=step_type, last_known_state=state)
            store.put_execution(execution, outputs, contexts, reuse_context_if_already_exist=True)

    return add


@pytest.fixture
def add_artifact(store: MetadataStore) -> Callable[..., Path]:
    """Adds an artifact to a run and returns its folder; keywords are its custom properties."""

    def add(run_id: str, type_name: str, folder: Path, span: int = 0, **properties: str) -> Path:
        span_type = {"span": metadata_store_pb2.INT}
        kind = store.put_artifact_type(metadata_store_pb2.ArtifactType(name=type_name, properties=span_type))
        artifact = metadata_store_pb2.Artifact(type_id=kind, uri=str(folder))
        artifact.properties["span"].int_value = span
        for key, value in properties.items():
            artifact.custom_properties[key].string_value = value
        [number] = store.put_artifacts([artifact])
        context = store.get_context_by_type_and_name("pipeline_run", run_id)
        attribution = metadata_store_pb2.Attribution(artifact_id=number, context_id=context.id)
        store.put_attributions_and_associations([attribution], [])
        folder.mkdir(parents=True)
        return folder

    return add


@pytest.fixture(scope="session")
def compiled_smoke() -> str:
    """The smoke pipeline, compiled for Kubeflow Pipelines: two YAML documents."""
    # Imported here because TFX takes seconds to load.
    from pipeline.kubeflow.compile.compiler import compile_pipeline

    return compile_pipeline(load_settings({"profile": "smoke"}, file=Path(os.devnull)), "kfp")


@pytest.fixture(scope="session")
def _parsed_smoke(compiled_smoke: str) -> dict[str, Any]:
    spec, _ = yaml.safe_load_all(compiled_smoke)
    return spec


@pytest.fixture
def compiled_spec(_parsed_smoke: dict[str, Any]) -> dict[str, Any]:
    """Its first document, a copy to be changed."""
    return deepcopy(_parsed_smoke)
