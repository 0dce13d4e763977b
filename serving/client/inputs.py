"""Finds what is to be predicted: images and TFRecords, by themselves or in folders."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from serving.client.images import STANDARD_INPUT

_IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_RECORD_PATTERNS = ("*.tfrecord*", "*.gz")


class NoInputError(ValueError):
    """An argument names nothing that could be predicted; the message says what was expected."""


@dataclass(frozen=True)
class Inputs:
    """What was found, in the order of the arguments, and by name in each folder.

    Attributes:
        images: Paths of image files; `-` is standard input.
        record_files: Paths of TFRecords of raw tf.Examples.
    """

    images: tuple[str, ...]
    record_files: tuple[str, ...]


def find_inputs(arguments: Sequence[str]) -> Inputs:
    """Finds the files that arguments mean.

    Args:
        arguments: Image files, whatever their names; TFRecords (`*.tfrecord*`, `*.gz`); folders, which are searched
            for both with all that is below, hidden files left out; `-` for an image from standard input.

    Raises:
        NoInputError: There is no such file, or a folder holds neither images nor TFRecords.
    """
    sources = [source for argument in dict.fromkeys(arguments) for source in _sources(argument)]
    return Inputs(
        images=tuple(source for source in sources if not _holds_records(source)),
        record_files=tuple(source for source in sources if _holds_records(source)),
    )


def _sources(argument: str) -> Iterable[str]:
    path = Path(argument)
    if argument == STANDARD_INPUT or path.is_file():
        return [argument]
    if not path.exists():
        raise NoInputError(f"{argument}: no such file or folder.")
    if not path.is_dir():
        raise NoInputError(f"{argument}: neither a file nor a folder.")
    found = sorted(_files_below(path))
    if not found:
        raise NoInputError(
            f"{argument}: no image ({', '.join(_IMAGE_SUFFIXES)}) and no TFRecord ({', '.join(_RECORD_PATTERNS)}) in "
            "this folder."
        )
    return map(str, found)


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        wanted = path.suffix.lower() in _IMAGE_SUFFIXES or _holds_records(path.name)
        if wanted and not hidden and path.is_file():
            yield path


def _holds_records(source: str) -> bool:
    return any(fnmatch(Path(source).name.lower(), pattern) for pattern in _RECORD_PATTERNS)
