"""RunReport: the last step, which writes what happened in a run into one page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_driver import BaseDriver as ComponentDriver
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.metadata import Metadata
from tfx.orchestration.portable.base_driver import BaseDriver
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration.driver_output_pb2 import DriverOutput
from tfx.types import Artifact, BaseChannel, Channel, artifact_utils
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.run_report.changed_settings import changed_settings
from components.run_report.collection import INPUTS, RunFacts, collect_report
from components.run_report.rendering import render_html
from components.run_report.report import HTML_FILE, JSON_FILE, REPORT_TYPE, Report, StepCost
from components.run_report.step_costs import read_step_costs
from registry.provenance import installed_software

REPORT_KEY = "report"

_MODEL_NAME_KEY = "model_name"
_SETTINGS_KEY = "settings"
_DEFAULTS_KEY = "default_settings"
_TRIALS_KEY = "trials"
_STEPS_KEY = "steps"

_STEPS = TypeAdapter(tuple[StepCost, ...])

ArtifactDict = dict[str, list[Artifact]]


class ReportArtifact(Artifact):
    """A report: `report.html` and `report.json`."""

    TYPE_NAME = REPORT_TYPE


class RunReportSpec(ComponentSpec):
    """Contract of RunReport."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        key: ExecutionParameter(type=str)
        for key in (_MODEL_NAME_KEY, _SETTINGS_KEY, _DEFAULTS_KEY, _TRIALS_KEY, _STEPS_KEY)
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        key: ChannelParameter(type=each.type, optional=True) for key, each in INPUTS.items()
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {REPORT_KEY: ChannelParameter(type=ReportArtifact)}


class Driver(ComponentDriver, BaseDriver):
    """Adds the time and the memory of the steps to the execution properties, which are part of the cache key.

    Some runners, such as Kubeflow Pipelines, do not call drivers; there, the report lacks them.

    Components require the first base class and the launcher calls the second, as in TFX's own
    tfx/components/example_gen/driver.py.
    """

    def __init__(self, metadata_handle: Metadata) -> None:
        """Sets the connection to ML Metadata; TFX calls this."""
        ComponentDriver.__init__(self, metadata_handle)
        BaseDriver.__init__(self, metadata_handle)

    def run(self, execution_info: ExecutionInfo) -> DriverOutput:
        """Returns the execution property with the costs; TFX calls this."""
        with self._metadata_handle as metadata:
            costs = read_step_costs(metadata.store, execution_info.pipeline_run_id)
        output = DriverOutput()
        output.exec_properties[_STEPS_KEY].string_value = _STEPS.dump_json(costs).decode()
        return output


class Executor(BaseExecutor):
    """Executor of RunReport."""

    def Do(  # noqa: N802 (the name is TFX's)
        self, input_dict: ArtifactDict, output_dict: ArtifactDict, exec_properties: dict[str, Any]
    ) -> None:
        """Writes the report; TFX calls this."""
        facts = RunFacts(
            model=exec_properties[_MODEL_NAME_KEY],
            run_id=(self._context and self._context.pipeline_run_id) or "",
            settings=changed_settings(*(json.loads(exec_properties[key]) for key in (_SETTINGS_KEY, _DEFAULTS_KEY))),
            trials=tuple(json.loads(exec_properties[_TRIALS_KEY])),
            steps=_STEPS.validate_json(exec_properties[_STEPS_KEY]),
            software=installed_software(),
        )
        artifacts = {key: artifact_utils.get_single_instance(found) for key, found in input_dict.items() if found}
        write_report(collect_report(artifacts, facts), Path(artifact_utils.get_single_uri(output_dict[REPORT_KEY])))


class RunReport(BaseComponent):
    """Writes what happened in a run as a page and as JSON, whatever the gates decided.

    The step has every result of the run as an optional input. Where DataGate refuses the data, a second instance with
    fewer inputs takes its place, because the others do not exist.
    """

    SPEC_CLASS = RunReportSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        model_name: str,
        settings: Mapping[str, Any],
        defaults: Mapping[str, Any],
        trials: Sequence[Mapping[str, Any]] = (),
        **inputs: BaseChannel,
    ) -> None:
        """Defines the step.

        Args:
            model_name: Name of the model.
            settings: The settings of the run, in sections.
            defaults: Their defaults.
            trials: The trials of the search that found the hyperparameters, if there was one.
            inputs: The artifacts of the run, by the keys of `components.run_report.collection.INPUTS`.
        """
        parameters = {
            _MODEL_NAME_KEY: model_name,
            _SETTINGS_KEY: json.dumps(settings),
            _DEFAULTS_KEY: json.dumps(defaults),
            _TRIALS_KEY: json.dumps(trials),
            _STEPS_KEY: "[]",
        }
        super().__init__(RunReportSpec(**parameters, **inputs, report=Channel(type=ReportArtifact)))


def write_report(report: Report, folder: Path) -> None:
    """Writes `report.html` and `report.json` into an existing local folder."""
    (folder / JSON_FILE).write_text(report.model_dump_json(indent=1), encoding="utf-8")
    (folder / HTML_FILE).write_text(render_html(report), encoding="utf-8")
