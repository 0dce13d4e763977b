"""Finds the data of a URI: resolves its span, detects its format from its content, and identifies its version.

Span patterns are those of TFX's ExampleGen: https://www.tensorflow.org/tfx/guide/examplegen#span.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from components.example_gen.sources.errors import DataError, listed, quoted
from components.example_gen.sources.idx import MAGICS, PARTS, idx_data_sets, idx_source, sibling_names
from components.example_gen.sources.image_folder import image_folder_source, is_image
from components.example_gen.sources.kaggle_csv import HEAD, csv_data_sets, csv_source, is_csv
from components.example_gen.sources.npz import npz_source
from components.example_gen.sources.parquet import MAGIC, parquet_source
from components.example_gen.sources.source import ALL, ORIGINS, Source, fingerprint, only_copy
from components.example_gen.sources.storage import (
    Entry,
    archive_uri,
    decompressed,
    exists,
    full_uri,
    is_folder,
    list_folder,
    list_tree,
    parent_uri,
    plain_path,
    sibling_uri,
)

_LAYOUTS = (
    "an npz file (mnist.npz), a folder of four IDX files (train-images-idx3-ubyte[.gz] and so on) or one of them, "
    "a folder with a folder of images for each class, a CSV file or a folder with one for training (train.csv), "
    "a Parquet file or a folder of them, or a zip file of any of these"
)
_FIX = "pass the path or URI of one of these"

_PLACEHOLDER = re.compile(r"\{SPAN(?::([1-9][0-9]*))?\}")


@dataclass(frozen=True)
class DataVersion:
    """One version of the data.

    Attributes:
        uri: Its URI with the span filled in, or its absolute path.
        span: Its span, 0 if the URI has no `{SPAN}`.
        fingerprint: SHA-256 of its content.
    """

    uri: str
    span: int
    fingerprint: str


def find_data(uri: str, span: int | None) -> DataVersion:
    """Finds and fingerprints data, so that changed data always reruns the pipeline; see `resolve_span`.

    Raises:
        DataError: There is no such data, or its format is unknown.
    """
    found_uri, found_span = resolve_span(uri, span)
    # The cache compares the URI, too: one place must have one name.
    absolute_uri = full_uri(found_uri).removeprefix("file://")
    return DataVersion(absolute_uri, found_span, fingerprint(open_source(absolute_uri)))


def resolve_span(uri: str, span: int | None) -> tuple[str, int]:
    """Fills the number of a span into a URI.

    Args:
        uri: Path or URI with at most one `{SPAN}`, which matches a number, or `{SPAN:5}`, which matches a number of
            five digits.
        span: Number of the span; the largest number if None.

    Returns:
        The URI of the span and its number, 0 if the URI has no pattern.

    Raises:
        DataError: The span does not exist, the pattern is malformed, or there is a span but no pattern.
    """
    match = _PLACEHOLDER.search(uri)
    if uri.count("{SPAN") > 1 or ("{SPAN" in uri and not match):
        found = f"{uri.count('{SPAN')} placeholders" if match else "a malformed placeholder"
        raise DataError(uri, found, "one {SPAN} or {SPAN:5}", "correct the pattern")
    if not match:
        if span:
            raise DataError(uri, f"no {{SPAN}} for span {span}", "{SPAN} in the path", "add it, or pass no span")
        return uri, 0
    spans = _find_spans(uri, match)
    if not spans:
        raise DataError(uri, "no span", "a file or folder that matches the pattern", "add one, or correct the pattern")
    number = max(spans) if span is None else span
    if number not in spans:
        known = ", ".join(map(str, sorted(spans)))
        raise DataError(uri, f"no span {number}", f"one of the existing spans ({known})", "pass one of them")
    return spans[number], number


def _find_spans(uri: str, match: re.Match[str]) -> dict[int, str]:
    folder, slash, before = uri[: match.start()].rpartition("/")
    after, separator, rest = uri[match.end() :].partition("/")
    digits = f"[0-9]{{{match[1]}}}" if match[1] else "[0-9]+"
    name = re.compile(f"{re.escape(before)}({digits}){re.escape(after)}")
    parent = folder + slash or "."
    spans: dict[int, str] = {}
    for entry in list_folder(parent) if is_folder(parent) else []:
        span_uri = f"{folder}{slash}{entry.name}{separator}{rest}"
        if (found := name.fullmatch(entry.name)) and (not rest.strip("/") or exists(span_uri)):
            if (number := int(found[1])) in spans:
                names = f"{spans[number]!r} and {span_uri!r}"
                raise DataError(uri, f"span {number} twice ({names})", "one of each number", "remove one")
            spans[number] = span_uri
    return spans


def open_source(uri: str) -> Source:
    """Detects the format of a file or folder, at a path or any URI that fsspec supports, and makes its source.

    Raises:
        DataError: The path does not exist or cannot be reached, its format is unknown or ambiguous, or a file of the
            data set is missing.
    """
    location = full_uri(uri)
    if is_folder(location):
        is_part = sibling_names(plain_path(location).rpartition("/")[2])
        return _open_folder(parent_uri(location) if is_part else location)
    if not exists(location):
        raise DataError(location, "nothing at this path", _LAYOUTS, "correct the path")
    return _open_file(location)


def _open_file(uri: str) -> Source:
    name = plain_path(uri).rpartition("/")[2]
    with decompressed(uri) as stream:
        head = stream.read(512)
    # The name counts as well, so that the reader of the format can describe the damage of a damaged file.
    if name.endswith(".npz"):
        return npz_source(uri)
    if head.startswith(b"PK"):
        content = archive_uri(uri)
        is_npz = any(entry.name.endswith(".npy") for entry in list_folder(content))
        return npz_source(uri) if is_npz else _open_folder(content)
    if head.startswith(MAGICS) or sibling_names(name):
        siblings = [Entry(sibling, sibling_uri(uri, sibling), is_folder=False) for sibling in sibling_names(name)]
        data_sets = idx_data_sets(entry for entry in siblings if exists(entry.uri))
        if not data_sets:
            found, expected = "an IDX file with an unknown name", "a name such as train-images-idx3-ubyte[.gz]"
            raise DataError(uri, found, expected, "rename it")
        return idx_source(parent_uri(uri), *data_sets.popitem())
    if head.startswith(MAGIC) or name.endswith(".parquet"):
        return parquet_source([uri])
    if HEAD.match(head) or is_csv(name):
        return csv_source({ALL: uri})
    raise DataError(uri, f"a file that starts with {quoted(head[:16])}", _LAYOUTS, _FIX)


def _open_folder(uri: str) -> Source:
    layouts = _find_layouts(uri)
    if not layouts:
        raise DataError(uri, f"a folder with {listed([entry.name for entry in list_folder(uri)])}", _LAYOUTS, _FIX)
    if len(layouts) > 1:
        raise DataError(uri, " and ".join(layouts), "one data set", "keep each in its own folder")
    (open_layout,) = layouts.values()
    return open_layout()


def _find_layouts(uri: str) -> dict[str, Callable[[], Source]]:
    """Finds the data sets in a folder, or if there are none, in its subfolders; the names are for messages."""
    entries = list_folder(uri)
    folders = [entry for entry in entries if entry.is_folder and not entry.link_target]
    files = [file for entry in entries for file in _files(entry)]
    layouts: dict[str, Callable[[], Source]] = {}
    data_sets = idx_data_sets(files)
    complete = {prefix: parts for prefix, parts in data_sets.items() if len(parts) == len(PARTS)}
    for prefix, parts in (complete or data_sets).items():
        layouts[f"IDX files {prefix}*"] = partial(idx_source, uri, prefix, parts)
    # A folder of images may be large: its first file decides.
    below = (file for entry in entries if entry.is_folder for file in list_tree(entry.uri))
    first = next((file for file in below if is_image(file) or _is_parquet(file)), None)
    if first and is_image(first) and not _is_wrapper(folders):
        layouts["folders of images"] = partial(image_folder_source, uri, entries)
    if parquet_files := [
        file.uri for file in (list_tree(uri) if first and _is_parquet(first) else files) if _is_parquet(file)
    ]:
        layouts["Parquet files"] = partial(parquet_source, parquet_files)
    for name, by_origin in csv_data_sets(files, alone=not layouts).items():
        layouts[name] = partial(_open_csv, uri, by_origin)
    archives = [file for file in files if file.name.endswith((".npz", ".zip"))]
    if not layouts and len(archives) == 1:
        layouts[archives[0].name] = partial(_open_file, archives[0].uri)
    return layouts or {
        f"{folder.name}: {name}": open_layout
        for folder in folders
        for name, open_layout in _find_layouts(folder.uri).items()
    }


def _files(entry: Entry) -> Iterator[Entry]:
    """Yields a file, or the file in a folder of the same name, as archives of Kaggle are extracted."""
    if not entry.is_folder:
        yield entry
    elif is_csv(entry.name) or sibling_names(entry.name):
        yield from (file for file in list_folder(entry.uri) if file.name == entry.name and not file.is_folder)


def _is_wrapper(folders: Sequence[Entry]) -> bool:
    """Returns whether a folder of images has only one subfolder, which is not a class and not a set for training."""
    if len(folders) != 1 or folders[0].name.lower() in ORIGINS:
        return False
    return not any(is_image(entry) for entry in list_folder(folders[0].uri))


def _is_parquet(entry: Entry) -> bool:
    return not entry.is_folder and entry.name.endswith(".parquet")


def _open_csv(folder: str, by_origin: Mapping[str, Sequence[Entry]]) -> Source:
    return csv_source({origin: only_copy(folder, copies) for origin, copies in by_origin.items()})
