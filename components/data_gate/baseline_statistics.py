"""The last data that passed: what the newest version that learnt from other data has learnt from."""

import hashlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

from registry.versions import TRAIN_STATISTICS_FILE, find_other_data, list_versions


@dataclass(frozen=True)
class BaselineStatistics:
    """Statistics of the train split of the last data that passed.

    Attributes:
        version: Number of the pushed version that ships them.
        fingerprint: Hex SHA-256 of their file.
        statistics: The statistics.
    """

    version: int
    fingerprint: str
    statistics: DatasetFeatureStatisticsList


class NoBaseline(Enum):
    """Why there are no statistics to compare with, for people."""

    NO_OTHER_DATA = "no earlier data to compare with"
    UNKNOWN_DATA = "no pushed version says what it learnt from"


def find_baseline_statistics(serving_directory: Path, train_statistics: bytes) -> BaselineStatistics | NoBaseline:
    """Finds the last data that passed, other than the data of this run.

    Data has passed once a model that learnt from it was pushed. A run of data that was pushed before is compared with
    the newest other data, even if that came later.

    Args:
        serving_directory: Folder of the model, with one sub-folder per version; it need not be there.
        train_statistics: File of the train statistics of this run, a serialized DatasetFeatureStatisticsList.

    Returns:
        The statistics, or why there are none.

    Raises:
        ValueError: The file in a version holds something else.
    """
    found = find_other_data(serving_directory, train_statistics)
    if found is None:
        is_unknown = list_versions(serving_directory) and find_other_data(serving_directory, b"") is None
        return NoBaseline.UNKNOWN_DATA if is_unknown else NoBaseline.NO_OTHER_DATA
    version, content = found
    statistics = _parse(content, version.directory / TRAIN_STATISTICS_FILE)
    return BaselineStatistics(version.number, hashlib.sha256(content).hexdigest(), statistics)


def _parse(content: bytes, file: Path) -> DatasetFeatureStatisticsList:
    try:
        statistics = DatasetFeatureStatisticsList.FromString(content)
    except DecodeError as error:
        raise ValueError(_damaged(file)) from error
    if len(statistics.datasets) != 1:
        raise ValueError(_damaged(file))
    return statistics


def _damaged(file: Path) -> str:
    return (
        f"{file}: damaged: expected the statistics of one split, as StatisticsGen writes them. Restore the file, or "
        "remove that version."
    )
