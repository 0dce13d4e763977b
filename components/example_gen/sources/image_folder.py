"""Reads images from one folder per class, the layout of mnist_png and of most exports of labeled images.

Layout: https://docs.pytorch.org/vision/stable/generated/torchvision.datasets.ImageFolder.html; the folder names
`training` and `testing` are those of https://github.com/myleott/mnist_png.
"""

import io
import posixpath
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from PIL import Image

from components.example_gen.sources.errors import DataError, listed, quoted
from components.example_gen.sources.source import (
    ALL,
    RECORDS_PER_SHARE,
    TEST,
    TRAIN,
    Record,
    Share,
    Source,
    check_image_size,
    ranges,
)
from components.example_gen.sources.storage import Entry, in_parallel, list_folder, opened, plain_path
from components.features import NUM_CLASSES

CLASS_NAMES = tuple(str(label) for label in range(NUM_CLASSES))
ORIGINS = {"train": TRAIN, "training": TRAIN, "test": TEST, "testing": TEST}

_SUFFIXES = (".png", ".jpg", ".jpeg")
_FORMATS = ("PNG", "JPEG")
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")

# Pillow silently reduces 16-bit color to 8 bits; this byte of a PNG file has the depth
# (https://www.w3.org/TR/png-3/#11IHDR).
_PNG_DEPTH_OFFSET = 24

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class ImageFolderSource(Source):
    """PNG or JPEG images of 28 x 28 pixels in folders named 0 to 9.

    `origins` has the origin of each file; keys of records are paths relative to `folder`.
    """

    origins: tuple[str, ...]
    folder: str

    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """See the base class."""
        return [
            partial(_read_images, self.files[start:stop], self.origins[start:stop], self.folder)
            for start, stop in ranges(len(self.files), records_per_share)
        ]


def _read_images(files: tuple[str, ...], origins: tuple[str, ...], folder: str) -> Iterator[Record]:
    for uri, origin, content in zip(files, origins, in_parallel(_read_file, files), strict=True):
        label = int(posixpath.basename(posixpath.dirname(uri)))
        key = plain_path(uri).removeprefix(f"{plain_path(folder)}/")
        yield Record(origin, key, _pixels(content, uri), label)


def image_folder_source(folder: str, entries: list[Entry]) -> ImageFolderSource:
    """Makes the source of a folder of images.

    Args:
        folder: Full URI of the folder.
        entries: Its content: the class folders, or one folder for training and one for testing that have them.

    Raises:
        DataError: A class folder is missing, empty or misnamed, or has other files than images.
    """
    folders = [entry for entry in entries if entry.is_folder]
    sets = [entry for entry in folders if entry.name in ORIGINS]
    if sets:
        if sorted(ORIGINS.get(entry.name, "") for entry in folders) != [TEST, TRAIN]:
            expected = "one folder train (or training) and one folder test (or testing)"
            found = f"the folders {listed([entry.name for entry in folders])}"
            raise DataError(folder, found, expected, "rename, add or remove folders")
        files = {ORIGINS[entry.name]: _class_files(entry.uri, list_folder(entry.uri)) for entry in sets}
        train, test = files[TRAIN], files[TEST]
        return ImageFolderSource("image folder", (*train, *test), (TRAIN,) * len(train) + (TEST,) * len(test), folder)
    everything = _class_files(folder, entries)
    return ImageFolderSource("image folder", tuple(everything), (ALL,) * len(everything), folder)


def _class_files(folder: str, entries: list[Entry]) -> list[str]:
    expected = f"class folders {CLASS_NAMES[0]} to {CLASS_NAMES[-1]} only"
    for entry in entries:
        if entry.is_folder and entry.name not in CLASS_NAMES:
            raise DataError(entry.uri, f"a folder named {entry.name!r}", expected, "rename or remove it")
        if not entry.is_folder and entry.name.lower().endswith(_SUFFIXES):
            raise DataError(entry.uri, "an image outside the class folders", "it in one of them", "move or remove it")
    folders = {entry.name: entry.uri for entry in entries if entry.is_folder}
    for name in CLASS_NAMES:
        if name not in folders:
            raise DataError(f"{folder}/{name}", "no such class folder", expected, "add it with images of that class")
    return [uri for name in CLASS_NAMES for uri in _image_files(folders[name])]


def _image_files(folder: str) -> list[str]:
    entries = list_folder(folder)
    if not entries:
        raise DataError(folder, "an empty class folder", "at least one image", "add images of that class")
    for entry in entries:
        if entry.is_folder or not entry.name.lower().endswith(_SUFFIXES):
            kind = "a folder" if entry.is_folder else "a file that is not a PNG or JPEG image"
            raise DataError(entry.uri, kind, f"only images ({', '.join(_SUFFIXES)})", "remove or convert it")
    return [entry.uri for entry in entries]


def _read_file(uri: str) -> bytes:
    with opened(uri) as file:
        return file.read()


def _pixels(content: bytes, uri: str) -> bytes:
    try:
        # Only verify() checks the checksums of a PNG file, and it leaves the image unusable.
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            image.verify()
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            check_image_size(uri, image.height, image.width)
            is_deep = image.format == "PNG" and content[_PNG_DEPTH_OFFSET] > 8
            if is_deep or image.mode not in _MODES:
                found = f"mode {image.mode}{' of 16 bits' if is_deep else ''}"
                raise DataError(uri, found, "8-bit grayscale, palette, RGB or RGBA", "convert it to 8-bit grayscale")
            # Luma (ITU-R 601-2) over black, which is the background of the digits.
            background = Image.new("RGBA", image.size, "black")
            return Image.alpha_composite(background, image.convert("RGBA")).convert("L").tobytes()
    except DataError:
        raise
    except _DAMAGE as error:
        # Pillow's "cannot identify" names a Python object instead of the file.
        reason = quoted(content[:8]) if "cannot identify" in str(error) else str(error)
        found = f"an image that cannot be read ({reason})"
        raise DataError(uri, found, "an intact PNG or JPEG file", "write it again or remove it") from error
