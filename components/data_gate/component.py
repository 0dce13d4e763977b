"""DataGate: the step that decides whether data may be used for training."""

import hashlib
import os
from collections.abc import Iterable, Set
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0.anomalies_pb2 import Anomalies
from tensorflow_metadata.proto.v0.schema_pb2 import Schema as SchemaProto
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList
from tfx.components.example_validator.executor import DEFAULT_FILE_NAME
from tfx.components.statistics_gen.stats_artifact_utils import BINARY_PB_BASENAME
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types import Artifact, artifact_utils
from tfx.types.standard_artifacts import ExampleAnomalies, ExampleStatistics, Schema
from tfx.utils.io_utils import SchemaReader, get_only_uri_in_dir

from components.baseline_driver import SERVING_DIRECTORY_KEY, BaselineDriver, baseline_contract
from components.data_gate.limits import DataLimits
from components.data_gate.rules import Baseline, check_split, compare_split, compare_with_baseline
from components.features import SPLITS, TRAIN_SPLIT, Contract
from components.schema import read_contract
from components.verdict import Finding, Verdict
from components.verdict_artifact import VerdictArtifact, publish_verdict
from registry.versions import TRAIN_STATISTICS_FILE, Version, find_other_data, list_versions

_HEADINGS = {
    "feature": "feature",
    "slice": "split",
    "metric": "rule",
    "value": "observed",
    "bound": "allowed",
    "decision": "decision",
    "reason": "reason",
    "setting": "setting",
}


class Driver(BaselineDriver):
    """Keys the cache with the last data that passed."""

    def baseline_identity(self, execution_info: ExecutionInfo) -> str:
        """Returns the hex SHA-256 of the statistics of the baseline."""
        [statistics] = execution_info.input_dict["statistics"]
        [schema] = execution_info.input_dict["schema"]
        contract = _read_schema(schema)[1]
        found = _find_baseline(statistics, contract, execution_info.exec_properties[SERVING_DIRECTORY_KEY])
        return "" if isinstance(found, str) else hashlib.sha256(found[1]).hexdigest()


@component
def DataGate(  # noqa: N802 (the name of the step)
    statistics: InputArtifact[ExampleStatistics],
    schema: InputArtifact[Schema],
    anomalies: InputArtifact[ExampleAnomalies],
    verdict: OutputArtifact[VerdictArtifact],
    limits: Parameter[str],
    advice: Parameter[str],
    serving_directory: Parameter[str],
    baseline: Parameter[str] = "",
) -> None:
    """Decides whether data may be used for training.

    TFX's ExampleValidator records anomalies but stops nothing. Its DistributionValidator takes its baseline from the
    runner's metadata, has one threshold per feature for all splits, does not count classes, and stops nothing either.

    Refuses anomalies, too few examples in a split or of a class, images that are not light ink on a background of 0,
    splits that differ too much from train, and a train split that differs too much from the last data of the same
    contract that passed. The step also succeeds if it refuses, so conditions must check the verdict.

    Args:
        statistics: Statistics of train, eval and test, computed with the schema.
        schema: Schema of the examples; its comparators limit the distance from other data.
        anomalies: Anomalies by ExampleValidator.
        verdict: The decision and its reasons.
        limits: JSON of `DataLimits`.
        advice: What to do after a refusal.
        serving_directory: Folder of the pushed versions, which contain the statistics of their data.
        baseline: Set by the driver for the cache.

    Raises:
        SchemaError: The schema, or that of a pushed version, defines no contract.
        ValueError: The statistics in a pushed version are damaged.
    """
    schema_proto, contract = _read_schema(schema)
    last_passed = _last_passed(statistics, contract, serving_directory)
    data_limits = DataLimits.model_validate_json(limits)
    by_split = {
        split: DatasetFeatureStatisticsList.FromString(_read(statistics, split, BINARY_PB_BASENAME)) for split in SPLITS
    }
    findings: list[Finding] = []
    refused: dict[str, set[str | None]] = {}
    for split in SPLITS:
        found = Anomalies.FromString(_read(anomalies, split, DEFAULT_FILE_NAME))
        of_split = check_split(split, by_split[split], found, contract.classes, data_limits)
        refused[split] = {finding.feature for finding in of_split if finding.feature and not finding.passed}
        findings += of_split
    train = by_split[TRAIN_SPLIT]
    for split in SPLITS:
        if split != TRAIN_SPLIT:
            distances = compare_split(split, by_split[split], train, schema_proto)
            findings += _without(refused[split] | refused[TRAIN_SPLIT], distances)
    findings += _without(refused[TRAIN_SPLIT], compare_with_baseline(train, last_passed, schema_proto))
    publish_verdict(Verdict("DataGate", tuple(findings), advice, _HEADINGS, data_limits.enforced), verdict)


# The decorator does not accept a driver.
DataGate.DRIVER_CLASS = Driver


def _without(features: Set[str | None], distances: Iterable[Finding]) -> list[Finding]:
    """Leaves out refusals of features that a rule of their own refuses, too: the cause is the same."""
    return [finding for finding in distances if finding.passed or finding.feature not in features]


def _read_schema(schema: Artifact) -> tuple[SchemaProto, Contract]:
    file = get_only_uri_in_dir(schema.uri)
    proto = SchemaReader().read(file)
    return proto, read_contract(proto, file)


def _find_baseline(statistics: Artifact, contract: Contract, serving_directory: str) -> tuple[Version, bytes] | str:
    """Finds the newest pushed version trained on other data than this run, and its train statistics.

    Data has passed if a model that was trained on it has been pushed.

    Returns:
        The version and its train statistics, or the reason why the data cannot be compared.
    """
    directory = Path(serving_directory)
    found = find_other_data(directory, _read(statistics, TRAIN_SPLIT, BINARY_PB_BASENAME))
    if found is None:
        is_unknown = list_versions(directory) and find_other_data(directory, b"") is None
        return "no pushed version has statistics of its data" if is_unknown else "no earlier data to compare with"
    if baseline_contract(found[0].directory) != contract:
        return "no earlier data of this contract"
    return found


def _last_passed(statistics: Artifact, contract: Contract, serving_directory: str) -> Baseline | str:
    found = _find_baseline(statistics, contract, serving_directory)
    if isinstance(found, str):
        return found
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
