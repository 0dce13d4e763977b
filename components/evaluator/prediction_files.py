"""The Parquet files with every prediction of an evaluation, one row per image."""

from hashlib import blake2b
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from registry.errors import ExpectedError

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("prediction", pa.string(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("baseline_prediction", pa.string()),
        pa.field("baseline_confidence", pa.float32()),
        pa.field("corruption", pa.string()),
    ]
)
"""Columns of the files.

`image_id` is a hash of the encoded image. `prediction` is the most probable class, which the metrics count, and
`confidence` its probability. An image without ink has the first class, because all its classes are equally probable.
The columns of the baseline are null if there is none, and `corruption` is null if the image is as it was ingested.
"""


class MissingPredictionsError(ExpectedError):
    """An evaluation has no predictions; the message names its folder."""


def image_id(image: bytes) -> int:
    """Returns the ID of an encoded image, an int64."""
    return int.from_bytes(blake2b(image, digest_size=8).digest(), "big", signed=True)


def prediction_file(number: int, num_parts: int) -> str:
    """Returns the name of the file with the predictions of a part of the images, counted from 0."""
    return f"predictions-{number:05d}-of-{num_parts:05d}.parquet"


def read_predictions(folder: str) -> pa.Table:
    """Reads the predictions of an `evaluation` artifact.

    Args:
        folder: The local folder of the artifact.

    Returns:
        A table with the columns of `SCHEMA`, in the order of the evaluated files.

    Raises:
        MissingPredictionsError: There are none, as in runs of earlier releases, or a file is damaged.
    """
    files = sorted(Path(folder).glob("predictions-*.parquet"))
    if not files:
        raise MissingPredictionsError(f"{folder}: no predictions; earlier releases did not write them, a new run does.")
    try:
        return pa.concat_tables([pq.read_table(file, schema=SCHEMA) for file in files])
    except (OSError, pa.ArrowInvalid) as error:
        raise MissingPredictionsError(f"{folder}: the predictions are damaged ({error}); run again.") from error
