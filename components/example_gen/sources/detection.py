"""Tells formats of input data apart by looking at them, so that nobody has to name the format of their data."""

import zlib
from collections.abc import Callable
from functools import partial

from components.example_gen.sources.errors import DataError, listed, quoted
from components.example_gen.sources.idx import (
    IMAGES_MAGIC,
    LABELS_MAGIC,
    idx_source,
    is_complete,
    prefixes,
    sibling_names,
)
from components.example_gen.sources.image_folder import CLASS_NAMES, ORIGINS, image_folder_source
from components.example_gen.sources.kaggle_csv import csv_source
from components.example_gen.sources.npz import NpzSource
from components.example_gen.sources.source import Source
from components.example_gen.sources.storage import (
    Entry,
    exists,
    full_uri,
    is_folder,
    list_folder,
    opened,
)
from components.example_gen.sources.streams import GZIP_MAGIC

_LAYOUTS = (
    "an npz file (mnist.npz), a folder of four IDX files (train-images-idx3-ubyte[.gz] and so on) or one of them, "
    "a folder of class folders 0 to 9 with images, or a CSV file or a folder with train.csv"
)
_FIX = "give the path or URI of one of these"

_HEAD_SIZE = 512
_ZIP_MAGIC = b"PK"
_IDX_MAGICS = tuple(magic.to_bytes(4, "big") for magic in (IMAGES_MAGIC, LABELS_MAGIC))
_CSV_HEADS = (b"label,", b"\xef\xbb\xbflabel,")

# Tells zlib to expect a gzip header: https://docs.python.org/3/library/zlib.html#zlib.decompress.
_GZIP_WINDOW = 31


def open_source(uri: str) -> Source:
    """Finds out what lies at a path and makes the source that reads it.

    Args:
        uri: Local path, or URI of any scheme that fsspec knows, of a file or folder.

    Returns:
        The source; of its files no more was read than telling them apart took.

    Raises:
        DataError: Nothing is there, it cannot be reached, it is none of the formats or more than one, or a file that
            belongs to it is missing.
    """
    location = full_uri(uri)
    if is_folder(location):
        return _open_folder(location)
    if not exists(location):
        raise DataError(location, "nothing at this path", _LAYOUTS, "correct the path")
    return _open_file(location)


def _open_file(uri: str) -> Source:
    folder, _, name = uri.rpartition("/")
    head = _read_head(uri)
    # Names come second, so that a damaged file is told what is wrong with it rather than not recognised.
    if head.startswith(_ZIP_MAGIC) or name.endswith(".npz"):
        return NpzSource((uri,))
    if head.startswith(_IDX_MAGICS) or prefixes([name]):
        return _open_idx_file(folder, name)
    if head.startswith(_CSV_HEADS) or name.endswith((".csv", ".csv.gz")):
        return csv_source(uri)
    raise DataError(uri, f"a file that starts {quoted(head[:16])}", _LAYOUTS, _FIX)


def _read_head(uri: str) -> bytes:
    with opened(uri) as file:
        head = file.read(_HEAD_SIZE)
    if not head.startswith(GZIP_MAGIC):
        return head
    try:
        return zlib.decompressobj(_GZIP_WINDOW).decompress(head)
    except zlib.error:
        return b""


def _open_idx_file(folder: str, name: str) -> Source:
    names = sibling_names(name)
    if not names:
        expected = "a name such as train-images-idx3-ubyte[.gz]"
        raise DataError(f"{folder}/{name}", "an IDX file whose name does not tell its part", expected, "rename it")
    siblings = [Entry(sibling, f"{folder}/{sibling}", is_folder=False) for sibling in names]
    (prefix,) = prefixes([name])
    return idx_source(folder, [entry for entry in siblings if exists(entry.uri)], prefix)


def _open_folder(uri: str) -> Source:
    entries = list_folder(uri)
    layouts = _find_layouts(uri, entries)
    if not layouts:
        raise DataError(uri, f"a folder with {listed([entry.name for entry in entries])}", _LAYOUTS, _FIX)
    if len(layouts) > 1:
        raise DataError(uri, " and ".join(layouts), "one data set", "keep each in a folder of its own")
    (open_layout,) = layouts.values()
    return open_layout()


def _find_layouts(uri: str, entries: list[Entry]) -> dict[str, Callable[[], Source]]:
    folder_names = {entry.name for entry in entries if entry.is_folder}
    files = [entry for entry in entries if not entry.is_folder]
    layouts: dict[str, Callable[[], Source]] = {}
    for prefix in _idx_prefixes(files):
        layouts[f"IDX files {prefix}*"] = partial(idx_source, uri, files, prefix)
    if folder_names & {*CLASS_NAMES, *ORIGINS}:
        layouts["folders of images"] = partial(image_folder_source, uri, entries)
    if train := _csv_file(uri, "train", files):
        layouts["train.csv"] = partial(csv_source, train, _csv_file(uri, "test", files))
    return layouts


def _idx_prefixes(files: list[Entry]) -> list[str]:
    found = sorted(prefixes(entry.name for entry in files))
    return [prefix for prefix in found if is_complete(files, prefix)] or found


def _csv_file(folder: str, stem: str, files: list[Entry]) -> str | None:
    found = [entry for entry in files if entry.name in (f"{stem}.csv", f"{stem}.csv.gz")]
    if len(found) > 1:
        raise DataError(folder, f"both {found[0].name} and {found[1].name}", "only one of them", "remove the other")
    return found[0].uri if found else None
