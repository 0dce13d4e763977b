"""DataGate: the step that decides whether data may be used for training."""

import hashlib
import os
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
from components.data_gate.rules import Baseline, check_data
from components.data_gate.shares import HEADINGS
from components.features import SPLITS, TRAIN_SPLIT, Contract
from components.schema import read_contract
from components.verdict import Verdict
from components.verdict_artifact import VerdictArtifact, publish_verdict
from registry.versions import TRAIN_STATISTICS_FILE, Version, find_other_data, list_versions


class Driver(BaselineDriver):
    """Keys the cache with the last data that passed."""

    def baseline_identity(self, execution_info: ExecutionInfo) -> str:
        """Returns the hex SHA-256 of the statistics of the baseline."""
        [statistics] = execution_info.input_dict["statistics"]
        [schema] = execution_info.input_dict["schema"]
        contract = _read_schema(schema)[1]
        train = _read(statistics, TRAIN_SPLIT, BINARY_PB_BASENAME)
        found = _find_baseline(train, contract, execution_info.exec_properties[SERVING_DIRECTORY_KEY])
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
    train = _read(statistics, TRAIN_SPLIT, BINARY_PB_BASENAME)
    baseline_data = last_passed(train, contract, serving_directory)
    data_limits = DataLimits.model_validate_json(limits)
    by_split = {
        split: DatasetFeatureStatisticsList.FromString(_read(statistics, split, BINARY_PB_BASENAME)) for split in SPLITS
    }
    found = {split: Anomalies.FromString(_read(anomalies, split, DEFAULT_FILE_NAME)) for split in SPLITS}
    findings = check_data(by_split, found, schema_proto, contract.classes, data_limits, baseline_data)
    publish_verdict(Verdict("DataGate", tuple(findings), advice, HEADINGS, data_limits.enforced), verdict)


# The decorator does not accept a driver.
DataGate.DRIVER_CLASS = Driver


def _read_schema(schema: Artifact) -> tuple[SchemaProto, Contract]:
    file = get_only_uri_in_dir(schema.uri)
    proto = SchemaReader().read(file)
    return proto, read_contract(proto, file)


def _find_baseline(train_statistics: bytes, contract: Contract, serving_directory: str) -> tuple[Version, bytes] | str:
    """Finds the newest pushed version trained on other data than this run, and its train statistics.

    Data has passed if a model that was trained on it has been pushed.

    Returns:
        The version and its train statistics, or the reason why the data cannot be compared.
    """
    directory = Path(serving_directory)
    found = find_other_data(directory, train_statistics)
    if found is None:
        is_unknown = list_versions(directory) and find_other_data(directory, b"") is None
        return "no pushed version has statistics of its data" if is_unknown else "no earlier data to compare with"
    if baseline_contract(found[0].directory) != contract:
        return "no earlier data of this contract"
    return found


def last_passed(train_statistics: bytes, contract: Contract, serving_directory: str) -> Baseline | str:
    """Returns the last data that passed, or the reason why there is none to compare with.

    Args:
        train_statistics: Serialized statistics of train, which are not compared with themselves.
        contract: The data contract.
        serving_directory: Folder of the pushed versions.

    Raises:
        SchemaError: The schema of a pushed version defines no contract.
        ValueError: The statistics in a pushed version are damaged.
    """
    found = _find_baseline(train_statistics, contract, serving_directory)
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
