"""Executor of DataGate: reads statistics, anomalies, schema and baseline, applies the rules, writes the verdict."""

import os
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.components.statistics_gen.stats_artifact_utils import BINARY_PB_BASENAME
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx.utils.io_utils import SchemaReader, get_only_uri_in_dir

from components.baseline_driver import SERVING_DIRECTORY_KEY
from components.data_gate.limits import DataLimits
from components.data_gate.rules import Baseline, check_split, compare_split, compare_with_baseline
from components.features import SPLITS, TRAIN_SPLIT
from components.verdict import Verdict
from components.verdict_artifact import VERDICT_KEY, publish_verdict
from registry.versions import TRAIN_STATISTICS_FILE, Version, find_other_data, list_versions

STATISTICS_KEY = "statistics"
SCHEMA_KEY = "schema"
ANOMALIES_KEY = "anomalies"
LIMITS_KEY = "limits"

ArtifactDict = dict[str, list[Artifact]]

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
    "Inspect the data with `digits verify-data` and fix it. If the new data is right, change the requirements: "
    "data/schema.pbtxt, or section data_gate of the settings."
)


class Executor(BaseExecutor):
    """Executor of DataGate."""

    def Do(  # noqa: N802 (the name is TFX's)
        self, input_dict: ArtifactDict, output_dict: ArtifactDict, exec_properties: dict[str, Any]
    ) -> None:
        """Applies all rules and writes the verdict, without failing if it refuses the data; TFX calls this.

        Raises:
            ValueError: The statistics in a pushed version are damaged.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        statistics_artifact = artifact_utils.get_single_instance(input_dict[STATISTICS_KEY])
        baseline = _baseline(statistics_artifact, exec_properties[SERVING_DIRECTORY_KEY])
        limits = DataLimits.model_validate_json(exec_properties[LIMITS_KEY])
        schema = SchemaReader().read(get_only_uri_in_dir(artifact_utils.get_single_uri(input_dict[SCHEMA_KEY])))
        anomalies_artifact = artifact_utils.get_single_instance(input_dict[ANOMALIES_KEY])
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
        findings += compare_with_baseline(train, baseline, schema)
        verdict = artifact_utils.get_single_instance(output_dict[VERDICT_KEY])
        publish_verdict(Verdict("DataGate", tuple(findings), ADVICE, HEADINGS), verdict)


def find_baseline(statistics: Artifact, serving_directory: str) -> tuple[Version, bytes] | None:
    """Finds the last data that passed, other than the data of this run, for the driver and the executor.

    Data has passed if a model that was trained on it has been pushed.

    Args:
        statistics: Statistics of this run.
        serving_directory: Folder of the pushed versions.

    Returns:
        The version trained on that data and its serialized train statistics, or None.
    """
    return find_other_data(Path(serving_directory), _read(statistics, TRAIN_SPLIT, BINARY_PB_BASENAME))


def _baseline(statistics: Artifact, serving_directory: str) -> Baseline | str:
    found = find_baseline(statistics, serving_directory)
    if found is None:
        directory = Path(serving_directory)
        is_unknown = list_versions(directory) and find_other_data(directory, b"") is None
        return "no pushed version has statistics of its data" if is_unknown else "no earlier data to compare with"
    version, content = found
    try:
        parsed = DatasetFeatureStatisticsList.FromString(content)
    except DecodeError:
        parsed = DatasetFeatureStatisticsList()
    if len(parsed.datasets) != 1:
        raise ValueError(
            f"{version.directory / TRAIN_STATISTICS_FILE}: damaged: expected the statistics of one split, as "
            "StatisticsGen writes them. Restore the file, or remove that version."
        )
    return Baseline(version.number, parsed)


def _read(artifact: Artifact, split: str, name: str) -> bytes:
    path = os.path.join(artifact_utils.get_split_uri([artifact], split), name)
    with fileio.open(path, "rb") as file:
        return file.read()
