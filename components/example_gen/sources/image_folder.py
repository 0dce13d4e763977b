"""Reads images from one folder per class, the layout of most exports of labeled images.

Layout: https://docs.pytorch.org/vision/stable/generated/torchvision.datasets.ImageFolder.html; the folder names
`training` and `testing` are those of https://github.com/myleott/mnist_png.
"""

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from components.example_gen.sources.errors import DataError, listed
from components.example_gen.sources.image_files import SUFFIXES, decode_image
from components.example_gen.sources.source import (
    ALL,
    EVAL,
    ORIGINS,
    RECORDS_PER_SHARE,
    TEST,
    TRAIN,
    Image,
    Record,
    Share,
    Source,
    check_classes,
    ranges,
)
from components.example_gen.sources.storage import (
    Entry,
    in_parallel,
    list_folder,
    list_tree,
    opened,
    plain_path,
    relative_path,
)

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGITS = {name: str(digit) for digit, word in enumerate(_WORDS) for name in (word, f"0{digit}", f"{digit} - {word}")}

# Files can be large, and decoding one takes time.
_MAX_FILES_PER_SHARE = 512


@dataclass(frozen=True)
class ImageFolderSource(Source):
    """Images in one folder per class; `contents` has the records of the files."""

    contents: tuple[Record, ...]

    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """See the base class."""
        return [
            _FileShare(self.files[start:stop], self.contents[start:stop])
            for start, stop in ranges(len(self.files), min(records_per_share, _MAX_FILES_PER_SHARE))
        ]


@dataclass(frozen=True)
class _FileShare(Share):
    files: tuple[str, ...]
    contents: tuple[Record, ...]

    def records(self) -> Sequence[Record]:
        return self.contents

    def images(self, numbers: Sequence[int]) -> Iterator[Image]:
        files = [self.files[number] for number in numbers]
        for uri, content in zip(files, in_parallel(_read_file, files), strict=True):
            yield decode_image(content, uri)


def image_folder_source(folder: str, entries: Sequence[Entry]) -> ImageFolderSource:
    """Makes the source of a folder of images.

    Args:
        folder: Full URI of the folder.
        entries: Its content: the class folders, or folders for training, validation and testing that have them.

    Raises:
        DataError: A class folder is empty or only in the test set, there are other files than images, or links to
            files outside.
    """
    sets = [(ALL, folder, entries)]
    folders = [entry for entry in entries if entry.is_folder]
    if any(entry.name.lower() in ORIGINS for entry in folders):
        origins = [ORIGINS.get(entry.name.lower(), "") for entry in folders]
        if TRAIN not in origins or "" in origins or len(set(origins)) < len(origins):
            expected = "one folder train and at most one each of val and test"
            fix = "rename, add or remove folders; if these are classes, move all into a folder train"
            raise DataError(folder, f"the folders {listed([entry.name for entry in folders])}", expected, fix)
        _check_links(folders, folder)
        by_origin = dict(zip(origins, (entry.uri for entry in folders), strict=True))
        found = (origin for origin in (TRAIN, EVAL, TEST) if origin in by_origin)
        sets = [(origin, by_origin[origin], list_folder(by_origin[origin])) for origin in found]
    contents = [
        (entry.uri, Record(origin, relative_path(entry.uri, folder), label))
        for origin, uri, content in sets
        for label, entry in _class_files(uri, content, folder)
    ]
    assumptions: tuple[str, ...] = ()
    names = sorted({record.label for _, record in contents})
    if all(name.lower() in _DIGITS for name in names):
        contents = [(uri, record._replace(label=_DIGITS[record.label.lower()])) for uri, record in contents]
        assumptions = (
            f"the folders {listed(names)} are the digits {', '.join(_DIGITS[name.lower()] for name in names)}",
        )
    check_classes(folder, {record.stratum for _, record in contents})
    files, records = zip(*contents, strict=True)
    return ImageFolderSource("image folder", files, records, assumptions=assumptions)


def is_image(entry: Entry) -> bool:
    """Returns whether a file has the name of an image."""
    return not entry.is_folder and entry.name.lower().endswith(SUFFIXES)


def _class_files(folder: str, entries: Iterable[Entry], root: str) -> Iterator[tuple[str, Entry]]:
    """Yields the class and the file of each image in class folders and their subfolders."""
    _check_links(entries, root)
    for entry in entries:
        if is_image(entry):
            raise DataError(entry.uri, "an image outside the class folders", "it in one of them", "move or remove it")
    class_folders = [entry for entry in entries if entry.is_folder]
    if not class_folders:
        raise DataError(folder, "no class folder", "one folder per class", "add them, or remove the folder")
    labels: set[str] = set()
    for class_folder in class_folders:
        # File systems encode letters with accents differently.
        label = unicodedata.normalize("NFC", class_folder.name)
        if label in labels:
            raise DataError(class_folder.uri, f"another folder of class {label!r}", "one", "merge them")
        labels.add(label)
        files = list(list_tree(class_folder.uri))
        _check_links(files, root)
        if not files:
            fix = "add images of that class, or remove the folder"
            raise DataError(class_folder.uri, "an empty class folder", "at least one image", fix)
        for file in files:
            if not is_image(file):
                expected = f"only images ({', '.join(SUFFIXES)})"
                raise DataError(file.uri, "a file that is not an image", expected, "remove or convert it")
            yield label, file


def _check_links(entries: Iterable[Entry], root: str) -> None:
    """Refuses symbolic links to places that are not part of the data, and to folders, which may form a circle."""
    for entry in (entry for entry in entries if entry.link_target):
        inside = f"{os.path.realpath(plain_path(root))}/"
        if entry.is_folder or not str(entry.link_target).startswith(inside):
            found, fix = f"a symbolic link to {entry.link_target}", "replace it with a copy"
            raise DataError(entry.uri, found, f"files and folders in {root}", fix)


def _read_file(uri: str) -> bytes:
    with opened(uri) as file:
        return file.read()
