"""Reads time and memory of the steps of a run from ML Metadata."""

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Event, Execution

from components.run_report.report import PEAK_BYTES_PROPERTY, StepCost


def read_step_costs(store: MetadataStore, run_id: str) -> tuple[StepCost, ...]:
    """Returns the costs of the completed steps of a run, in the order in which they ran.

    A step from the cache has the costs of the execution whose outputs it reuses, so that a run in which nothing has
    changed has the same costs as the run before.
    """
    context = store.get_context_by_type_and_name("pipeline_run", run_id)
    if context is None:
        return ()
    costs = []
    for execution in sorted(store.get_executions_by_context(context.id), key=lambda each: each.id):
        original = _original(store, execution)
        if original is not None:
            [node] = [each for each in store.get_contexts_by_execution(execution.id) if each.type == "node"]
            peak = original.custom_properties[PEAK_BYTES_PROPERTY].int_value
            milliseconds = original.last_update_time_since_epoch - original.create_time_since_epoch
            # The context of a step is named PIPELINE.STEP.
            name = node.name.partition(".")[2]
            costs.append(StepCost(name=name, seconds=milliseconds / 1000, peak_bytes=peak or None))
    return tuple(costs)


def _original(store: MetadataStore, execution: Execution) -> Execution | None:
    """Returns the execution that wrote the outputs of an execution; None if it has not completed."""
    if execution.last_known_state == Execution.COMPLETE:
        return execution
    if execution.last_known_state != Execution.CACHED:
        return None
    outputs = {event.artifact_id for event in store.get_events_by_execution_ids([execution.id]) if _is_output(event)}
    events = store.get_events_by_artifact_ids(list(outputs)) if outputs else []
    writers = store.get_executions_by_id([event.execution_id for event in events if _is_output(event)])
    return next((writer for writer in writers if writer.last_known_state == Execution.COMPLETE), None)


def _is_output(event: Event) -> bool:
    return event.type == Event.OUTPUT
