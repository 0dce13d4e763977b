"""The last data that passed: what the newest version that learnt from other data has learnt from."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList

from components.versions import TRAIN_STATISTICS_FILE, list_versions


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


def find_baseline_statistics(serving_directory: Path, train_statistics: bytes) -> BaselineStatistics | None:
    """Finds the last data that passed, other than the data of this run.

    A repeated run is compared with what its data was compared with the first time, not with itself.

    Args:
        serving_directory: Folder of the model, with one sub-folder per version; it need not be there.
        train_statistics: File of the train statistics of this run, a serialized DatasetFeatureStatisticsList.

    Returns:
        The statistics, or None where no version has learnt from other data, or none tells from what.

    Raises:
        ValueError: The file in a version holds something else.
    """
    for version in reversed(list_versions(serving_directory)):
        file = version.directory / TRAIN_STATISTICS_FILE
        # Versions may have none, and may be removed while we look.
        with suppress(FileNotFoundError):
            content = file.read_bytes()
            if content != train_statistics:
                return BaselineStatistics(version.number, hashlib.sha256(content).hexdigest(), _parse(content, file))
    return None


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
