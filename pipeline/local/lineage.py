"""Follows the lineage of a pushed version through ML Metadata, without loading TFX."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from components.verdict import DamagedVerdictError, read_verdict
from pipeline.local.metadata import (
    RUN_CONTEXT_TYPE,
    STEP_CONTEXT_TYPE,
    MetadataError,
    data_of,
    has_records,
    open_metadata,
    read_run,
)
from registry.lineage import Ancestor, Lineage
from registry.provenance import VERDICT_TYPE, GateRecord, Ingredients, Origin, Software

_MAX_HOPS = 100
"""The maximum of ML Metadata; a step takes two hops."""
_BASELINE_VERSION_PROPERTY = "version"
"""As in `components.baseline_driver`, whose import would load TFX."""


class _Graph(NamedTuple):
    """What ML Metadata knows of the way to an artifact.

    Attributes:
        artifacts: The artifacts by ID.
        producers: The execution that wrote an artifact, by artifact ID.
        inputs: IDs of the artifacts that an execution read, by execution ID.
        steps: Name of the step of an execution.
        runs: ID of the run of an execution.
    """

    artifacts: Mapping[int, metadata_store_pb2.Artifact]
    producers: Mapping[int, metadata_store_pb2.Execution]
    inputs: Mapping[int, set[int]]
    steps: Mapping[int, str]
    runs: Mapping[int, str]


def add_metadata(lineage: Lineage, file: Path) -> Lineage:
    """Returns a lineage with the artifacts in ML Metadata, and with what the provenance of the version does not state.

    Args:
        lineage: What the version itself states.
        file: The metadata database of the workspace; it need not exist.
    """
    try:
        if not has_records(file):
            return _without_metadata(lineage, f"{file}: there is no ML Metadata of any run.")
        with open_metadata(file) as store:
            pushed = _find_push(store, lineage)
            if pushed is None:
                return _without_metadata(lineage, f"{file}: ML Metadata does not know the push of this version.")
            return _add(lineage, store, pushed, file)
    except MetadataError as error:
        return _without_metadata(lineage, str(error))


def _without_metadata(lineage: Lineage, reason: str) -> Lineage:
    return lineage.model_copy(update={"missing": (*lineage.missing, reason)})


def _find_push(store: MetadataStore, lineage: Lineage) -> metadata_store_pb2.Artifact | None:
    """Returns the artifact of the push: that of the run in the provenance or, without one, that of the version."""
    artifacts = store.get_artifacts_by_type("PushedModel")
    pushes = [artifact for artifact in artifacts if artifact.custom_properties["pushed"].int_value]
    run_id = lineage.origin.pipeline_run
    context = store.get_context_by_type_and_name(RUN_CONTEXT_TYPE, run_id) if run_id else None
    of_run = {artifact.id for artifact in store.get_artifacts_by_context(context.id)} if context else set()
    # The workspace may have been moved.
    place = (lineage.model, str(lineage.version))
    at_place = {
        push.id
        for push in pushes
        if Path(push.custom_properties["pushed_destination"].string_value).parts[-2:] == place
    }
    return next((push for ids in (of_run, at_place) for push in pushes if push.id in ids), None)


def _add(lineage: Lineage, store: MetadataStore, pushed: metadata_store_pb2.Artifact, file: Path) -> Lineage:
    graph = _walk_back(store, pushed)
    fingerprints = {(artifact.type, artifact.step): artifact.fingerprint for artifact in lineage.artifacts}
    artifacts = tuple(_ancestor(graph, number, fingerprints) for number in _reachable(graph, pushed.id))
    if lineage.artifacts and not any(artifact.data for artifact in artifacts):
        return _without_metadata(lineage, f"{file}: ML Metadata no longer leads back to the data.")
    origin = lineage.origin
    if origin.ingredients is None:
        origin = _origin(graph, store, pushed.id, artifacts)
    elif origin.baseline_version is None:
        origin = origin.model_copy(update={"baseline_version": _baseline_version(graph, artifacts)})
    pushed_at = datetime.fromtimestamp(pushed.create_time_since_epoch / 1000, UTC)
    return lineage.model_copy(
        update={
            "metadata": file,
            "published": lineage.published or pushed_at,
            "origin": origin,
            "artifacts": artifacts,
            "missing": (*lineage.missing, *_gaps(artifacts)),
        }
    )


def _walk_back(store: MetadataStore, pushed: metadata_store_pb2.Artifact) -> _Graph:
    options = metadata_store_pb2.LineageSubgraphQueryOptions(
        starting_artifacts={"filter_query": f"id = {pushed.id}"},
        direction=metadata_store_pb2.LineageSubgraphQueryOptions.UPSTREAM,
        max_num_hops=_MAX_HOPS,
    )
    parts = ("artifacts", "executions", "contexts", "events", "associations")
    found = store.get_lineage_subgraph(options, parts)
    artifacts = {artifact.id: artifact for artifact in found.artifacts}
    executions = {execution.id: execution for execution in found.executions}
    contexts = {context.id: context for context in found.contexts}
    names: dict[str, dict[int, str]] = defaultdict(dict)
    for each in found.associations:
        if context := contexts.get(each.context_id):
            names[context.type][each.execution_id] = context.name
    producers: dict[int, metadata_store_pb2.Execution] = {}
    inputs: dict[int, set[int]] = defaultdict(set)
    # A step from the cache also has the outputs of the execution that wrote them, which is older.
    for event in sorted(found.events, key=lambda event: event.execution_id):
        if event.artifact_id not in artifacts or event.execution_id not in executions:
            continue
        if event.type == metadata_store_pb2.Event.OUTPUT:
            producers.setdefault(event.artifact_id, executions[event.execution_id])
        elif event.type == metadata_store_pb2.Event.INPUT and not _is_condition(event):
            inputs[event.execution_id].add(event.artifact_id)
    # The context of a step is named PIPELINE.STEP.
    steps = {number: name.partition(".")[2] for number, name in names[STEP_CONTEXT_TYPE].items()}
    return _Graph(artifacts, producers, inputs, steps, names[RUN_CONTEXT_TYPE])


def _is_condition(event: metadata_store_pb2.Event) -> bool:
    """Returns whether a step read an artifact only for a condition of the pipeline; TFX names it with an underscore."""
    keys = [step.key for step in event.path.steps if step.HasField("key")]
    return bool(keys) and all(key.startswith("_") for key in keys)


def _reachable(graph: _Graph, start: int) -> list[int]:
    """Returns the IDs of an artifact and all artifacts on the way to it, in the order of creation."""
    found, todo = {start}, [start]
    while todo:
        new = set(_inputs(graph, todo.pop())) - found
        found |= new
        todo += new
    return sorted(found)


def _inputs(graph: _Graph, artifact: int) -> tuple[int, ...]:
    producer = graph.producers.get(artifact)
    return tuple(sorted(graph.inputs.get(producer.id, ()))) if producer else ()


def _ancestor(graph: _Graph, number: int, fingerprints: Mapping[tuple[str, str], str | None]) -> Ancestor:
    artifact, producer = graph.artifacts[number], graph.producers.get(number)
    step = graph.steps.get(producer.id, "") if producer else ""
    return Ancestor(
        id=number,
        type=artifact.type,
        step=step,
        run=graph.runs.get(producer.id) if producer else None,
        uri=artifact.uri,
        exists=None if "://" in artifact.uri else Path(artifact.uri).exists(),
        fingerprint=fingerprints.get((artifact.type, step)),
        data=data_of(artifact),
        inputs=_inputs(graph, number),
    )


def _origin(graph: _Graph, store: MetadataStore, pushed: int, artifacts: Sequence[Ancestor]) -> Origin:
    """Returns what the provenance of a version would state, as far as ML Metadata knows it."""
    properties, run = {}, None
    if producer := graph.producers.get(pushed):
        run = graph.runs.get(producer.id)
        # Properties of Pusher.
        properties = {
            key: json.loads(producer.custom_properties[key].string_value or "{}") for key in ("code", "settings")
        }
    data = next((artifact.data for artifact in artifacts if artifact.data), None)
    software = read_run(store, run).software if run else None
    gates = []
    for artifact in artifacts:
        if artifact.type == VERDICT_TYPE:
            with suppress(DamagedVerdictError):
                verdict = read_verdict(graph.artifacts[artifact.id].uri)
                gates.append(
                    GateRecord(
                        gate=verdict.gate,
                        passed=verdict.passed,
                        enforced=verdict.enforced,
                        accepted=verdict.accepted,
                        metrics={},
                    )
                )
    return Origin(
        pipeline_run=run,
        model_uri=next((artifact.uri for artifact in artifacts if artifact.step == "Trainer"), None),
        ingredients=Ingredients(data=data, code=properties["code"]) if data else None,
        settings=properties.get("settings", {}),
        software=software and Software.model_validate(software),
        gates=tuple(gates),
        baseline_version=_baseline_version(graph, artifacts),
    )


def _baseline_version(graph: _Graph, artifacts: Sequence[Ancestor]) -> int | None:
    of_baselines = (graph.artifacts[artifact.id] for artifact in artifacts if artifact.step == "BaselineModel")
    versions = (artifact.custom_properties[_BASELINE_VERSION_PROPERTY].string_value for artifact in of_baselines)
    return next((int(version) for version in versions if version), None)


def _gaps(artifacts: Sequence[Ancestor]) -> list[str]:
    gaps = []
    if not any(artifact.data for artifact in artifacts):
        gaps.append("ML Metadata does not lead back to the data.")
    if unknown := sum(not artifact.step for artifact in artifacts):
        gaps.append(f"ML Metadata has no record of the steps that wrote {unknown} of {len(artifacts)} artifacts.")
    if gone := sum(artifact.exists is False for artifact in artifacts):
        gaps.append(
            f"{gone} of {len(artifacts)} artifacts are no longer at their URIs: "
            "the workspace was moved, or they were removed."
        )
    return gaps
