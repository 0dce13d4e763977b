"""Reads Parquet files of labeled images, as Hugging Face distributes them, one row group at a time.

Columns and metadata: https://huggingface.co/docs/datasets/image_dataset and
https://huggingface.co/docs/datasets/about_dataset_features. `datasets` itself would copy all data into its cache.
"""

import json
import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import parquet

from components.example_gen.sources.errors import DataError, corrupt, listed
from components.example_gen.sources.image_files import decode_image
from components.example_gen.sources.source import (
    ALL,
    ORIGINS,
    RECORDS_PER_SHARE,
    TRAIN,
    Image,
    Record,
    Share,
    Source,
    numbered,
)
from components.example_gen.sources.storage import opened, parent_uri, plain_path

MAGIC = b"PAR1"

_IMAGES = ("image", "img")
_LABEL = "label"
_COLUMNS = "a column image (or img) with bytes and path, and a column label with integers or names"
_FIX = "write the file with Hugging Face's datasets: to_parquet"

# Images can be large, and decoding one takes time.
_MAX_IMAGES_PER_SHARE = 512
_IMAGES_PER_BATCH = 32


@dataclass(frozen=True)
class ParquetSource(Source):
    """Parquet files with encoded images; `origins` has the origin of each file."""

    origins: tuple[str, ...]

    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """See the base class."""
        most = min(records_per_share, _MAX_IMAGES_PER_SHARE)
        shares: list[Share] = []
        for uri, origin in zip(self.files, self.origins, strict=True):
            with _opened(uri) as file:
                image_column, names = _check_columns(uri, file.schema_arrow)
                sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            if not sum(sizes):
                raise DataError(uri, "no rows", "at least one", "provide data")
            groups: list[int] = []
            start = num_rows = 0
            for group, size in enumerate(sizes):
                if groups and num_rows + size > most:
                    shares.append(_RowGroups(uri, origin, image_column, names, start, tuple(groups)))
                    start, num_rows, groups = start + num_rows, 0, []
                groups.append(group)
                num_rows += size
            shares.append(_RowGroups(uri, origin, image_column, names, start, tuple(groups)))
        return shares


@dataclass(frozen=True)
class _RowGroups(Share):
    uri: str
    origin: str
    image_column: str
    names: tuple[str, ...]
    start: int
    groups: tuple[int, ...]

    def records(self) -> Sequence[Record]:
        with _opened(self.uri) as file:
            labels = file.read_row_groups(self.groups, [_LABEL]).column(_LABEL).to_pylist()
        name = posixpath.basename(plain_path(self.uri))
        return [
            Record(self.origin, f"{name}/{row:06d}", self._class_name(label, row))
            for row, label in enumerate(labels, self.start)
        ]

    def images(self, numbers: Sequence[int]) -> Iterator[Image]:
        wanted, row = set(numbers), 0
        with _opened(self.uri) as file:
            for batch in file.iter_batches(_IMAGES_PER_BATCH, self.groups, [f"{self.image_column}.bytes"]):
                for content in batch.column(0).field("bytes"):
                    if row in wanted:
                        where = f"{self.uri}, {numbered(self.start + row)}"
                        if not content.is_valid:
                            raise DataError(where, "no image", "the bytes of an image file", _FIX)
                        yield decode_image(content.as_py(), where)
                    row += 1

    def _class_name(self, label: int | str | None, row: int) -> str:
        if label is None or label == "" or (self.names and label not in range(len(self.names))):
            found = "no label" if label in (None, "", -1) else f"label {label}"
            expected = f"a label from 0 to {len(self.names) - 1}" if self.names else "a label"
            fix = "correct or remove the record, or the file if its set has no labels"
            raise DataError(f"{self.uri}, {numbered(row)}", found, expected, fix)
        return self.names[int(label)] if self.names else str(label)


def parquet_source(files: Sequence[str]) -> ParquetSource:
    """Makes the source of Parquet files.

    Args:
        files: Full URIs; if their names do not start with `train`, `validation` or `test`, they are one set.

    Raises:
        DataError: The files are in several folders, or only some have such names.
    """
    folder = parent_uri(files[0])
    folders = sorted({posixpath.dirname(plain_path(uri)) for uri in files})
    if len(folders) > 1:
        where = posixpath.commonpath(folders)
        raise DataError(where, f"Parquet files in {listed(folders)}", "one data set", "pass one folder")
    names = [posixpath.basename(plain_path(uri)) for uri in files]
    origins = [ORIGINS.get(re.split(r"[-_.]", name)[0].lower(), "") for name in names]
    if len(files) == 1 or not any(origins):
        origins = [ALL] * len(files)
    if not {TRAIN, ALL} & set(origins) or "" in origins:
        found = f"the files {listed(names)}"
        expected = "names that start with train-, and optionally others that start with validation- or test-"
        raise DataError(folder, found, expected, "rename, add or remove files")
    return ParquetSource("Parquet", tuple(files), tuple(origins))


def _check_columns(uri: str, schema: pa.Schema) -> tuple[str, tuple[str, ...]]:
    """Returns the name of the column with the images, and the names of the classes if the labels are indices."""
    image_column = next((name for name in _IMAGES if name in schema.names), None)
    if image_column is None or _LABEL not in schema.names:
        raise DataError(uri, f"the columns {listed(schema.names)}", _COLUMNS, "rename or add columns")
    image, label = schema.field(image_column).type, schema.field(_LABEL).type
    content = image.field("bytes").type if pa.types.is_struct(image) and image.get_field_index("bytes") >= 0 else None
    if content not in (pa.binary(), pa.large_binary()):
        raise DataError(f"{uri}, column {image_column}", f"type {image}", "a struct of bytes and path", _FIX)
    if pa.types.is_string(label) or pa.types.is_large_string(label):
        return image_column, ()
    if not pa.types.is_integer(label):
        raise DataError(f"{uri}, column {_LABEL}", f"type {label}", "integers or names of classes", _FIX)
    try:
        metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = metadata.get("info", {}).get("features", {}).get(_LABEL, {}).get("names") or ()
        return image_column, tuple(map(str, names))
    except (ValueError, AttributeError, TypeError) as error:
        found = f"Hugging Face metadata that cannot be read ({error})"
        raise DataError(uri, found, "JSON with the names of the classes", _FIX) from error


@contextmanager
def _opened(uri: str) -> Iterator[parquet.ParquetFile]:
    with opened(uri) as file:
        try:
            yield parquet.ParquetFile(file)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            # Only errors of the storage have a number.
            if getattr(error, "errno", None):
                raise
            raise corrupt(uri, f"a damaged Parquet file ({error})", "an intact one") from error
