"""The work of DataGate: reads statistics, anomalies, schema and baseline, applies the rules, writes the verdict."""

import os
from pathlib import Path
from typing import Any

from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.components.statistics_gen.stats_artifact_utils import BINARY_PB_BASENAME
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx.utils.io_utils import SchemaReader, get_only_uri_in_dir

from components.baseline_driver import SERVING_DIRECTORY_KEY
from components.data_gate.baseline_statistics import BaselineStatistics, NoBaseline, find_baseline_statistics
from components.data_gate.comparisons import compare_split, compare_with_baseline
from components.data_gate.limits import DataLimits
from components.data_gate.rules import check_split
from components.features import SPLITS, TRAIN_SPLIT
from components.verdict import Finding, Verdict
from components.verdict_artifact import VERDICT_KEY, publish_verdict

STATISTICS_KEY = "statistics"
SCHEMA_KEY = "schema"
ANOMALIES_KEY = "anomalies"
LIMITS_KEY = "limits"

HEADINGS = {
    "feature": "feature",
    "slice": "split",
    "metric": "rule",
    "value": "observed",
    "bound": "allowed",
    "decision": "decision",
    "reason": "reason",
}

ADVICE = (
    "Look at the data with `digits verify-data`, and mend it. If the new data is right, change what is allowed: "
    "data/schema.pbtxt, or section data_gate of the settings."
)


class Executor(BaseExecutor):
    """Executor of DataGate."""

    def Do(  # noqa: N802 (the name is TFX's)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Applies all rules and writes the verdict; TFX calls this.

        A refusal is no failure of the step: its verdict says so, and is kept.

        Args:
            input_dict: `statistics`, `schema` and `anomalies`, of splits train, eval and test.
            output_dict: `verdict`, the artifact to fill.
            exec_properties: What the component was given. `baseline` is for the cache: not every runner sets it.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        statistics = artifact_utils.get_single_instance(input_dict[STATISTICS_KEY])
        baseline = find_baseline(statistics, exec_properties[SERVING_DIRECTORY_KEY])
        limits = DataLimits.model_validate_json(exec_properties[LIMITS_KEY])
        findings = _findings(statistics, input_dict, limits, baseline)
        verdict = artifact_utils.get_single_instance(output_dict[VERDICT_KEY])
        publish_verdict(Verdict("DataGate", tuple(findings), ADVICE, HEADINGS), verdict)


def find_baseline(statistics: Artifact, serving_directory: str) -> BaselineStatistics | NoBaseline:
    """Finds the last data that passed, for the driver, which only identifies it, and for the executor.

    Args:
        statistics: Those of this run.
        serving_directory: Folder of the pushed versions.
    """
    return find_baseline_statistics(Path(serving_directory), _read(statistics, TRAIN_SPLIT, BINARY_PB_BASENAME))


def _findings(
    statistics_artifact: Artifact,
    input_dict: dict[str, list[Artifact]],
    limits: DataLimits,
    baseline: BaselineStatistics | NoBaseline,
) -> list[Finding]:
    anomalies_artifact = artifact_utils.get_single_instance(input_dict[ANOMALIES_KEY])
    schema = SchemaReader().read(get_only_uri_in_dir(artifact_utils.get_single_uri(input_dict[SCHEMA_KEY])))
    statistics = {
        split: DatasetFeatureStatisticsList.FromString(_read(statistics_artifact, split, BINARY_PB_BASENAME))
        for split in SPLITS
    }
    findings = []
    for split in SPLITS:
        anomalies = Anomalies.FromString(_read(anomalies_artifact, split, DEFAULT_FILE_NAME))
        findings += check_split(split, statistics[split], anomalies, schema, limits)
    train = statistics[TRAIN_SPLIT]
    for split in SPLITS:
        if split != TRAIN_SPLIT:
            findings += compare_split(split, statistics[split], train, schema)
    return findings + compare_with_baseline(train, baseline, schema)


def _read(artifact: Artifact, split: str, name: str) -> bytes:
    path = os.path.join(artifact_utils.get_split_uri([artifact], split), name)
    with fileio.open(path, "rb") as file:
        return file.read()
