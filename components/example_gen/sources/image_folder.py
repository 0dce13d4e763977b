"""Reads images from one folder per class, the layout in which people export their own data and mnist_png is published.

Source of the layout: https://docs.pytorch.org/vision/stable/generated/torchvision.datasets.ImageFolder.html; the names
`training` and `testing` are those of https://github.com/myleott/mnist_png.
"""

import io
import posixpath
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from components.example_gen.sources.errors import DataError, listed, quoted
from components.example_gen.sources.records import check_image_size, ranges
from components.example_gen.sources.source import ALL, RECORDS_PER_SHARE, TEST, TRAIN, Record, Share, Source
from components.example_gen.sources.storage import Entry, in_parallel, list_folder, opened, plain_path
from components.features import NUM_CLASSES

CLASS_NAMES = tuple(str(label) for label in range(NUM_CLASSES))
ORIGINS = {"train": TRAIN, "training": TRAIN, "test": TEST, "testing": TEST}

_SUFFIXES = (".png", ".jpg", ".jpeg")
_FORMATS = ("PNG", "JPEG")
_OPAQUE_MODES = ("1", "L", "RGB")
_TRANSPARENT_MODES = ("LA", "P", "RGBA")

# Pillow reduces deep colour images to 8 bits without a word; their depth is at this place of a PNG file
# (https://www.w3.org/TR/png-3/#11IHDR).
_PNG_DEPTH_OFFSET = 24
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class ImageFolderSource(Source):
    """PNG or JPEG images of 28 x 28 pixels in folders named 0 to 9.

    Attributes:
        origins: Origin of each of the files.
        folder: What keys of records are relative to.
    """

    format = "image folder"
    origins: tuple[str, ...]
    folder: str

    def shares(self, records_per_share: int = RECORDS_PER_SHARE) -> list[Share]:
        """See the base class."""
        return [
            ImageFolderShare(self.files[start:stop], self.origins[start:stop], self.folder)
            for start, stop in ranges(len(self.files), records_per_share)
        ]


@dataclass(frozen=True)
class ImageFolderShare(Share):
    """Some of the images of a source; the attributes are those of `ImageFolderSource`."""

    files: tuple[str, ...]
    origins: tuple[str, ...]
    folder: str

    def read(self) -> Iterator[Record]:
        """See the base class."""
        contents = in_parallel(_read_file, self.files)
        for uri, origin, content in zip(self.files, self.origins, contents, strict=True):
            label = int(posixpath.basename(posixpath.dirname(uri)))
            key = plain_path(uri).removeprefix(f"{plain_path(self.folder)}/")
            yield Record(origin, key, _pixels(content, uri), label)


def image_folder_source(folder: str, entries: list[Entry]) -> ImageFolderSource:
    """Makes the source of a folder of images.

    Args:
        folder: Full URI of the folder.
        entries: What is in it: the class folders, or one folder for training and one for testing that have them.

    Returns:
        The source.

    Raises:
        DataError: A class folder is missing, empty, or named otherwise, or has anything but images in it.
    """
    sets = [entry for entry in entries if entry.is_folder and entry.name in ORIGINS]
    if not sets:
        files = _class_files(folder, entries)
        return ImageFolderSource(tuple(files), (ALL,) * len(files), folder)
    _check_sets(folder, [entry for entry in entries if entry.is_folder])
    found = [(ORIGINS[entry.name], uri) for entry in sets for uri in _class_files(entry.uri, list_folder(entry.uri))]
    found.sort(key=lambda origin_and_uri: origin_and_uri[0] == TEST)
    return ImageFolderSource(tuple(uri for _, uri in found), tuple(origin for origin, _ in found), folder)


def _check_sets(folder: str, folders: list[Entry]) -> None:
    names = [entry.name for entry in folders]
    if sorted(ORIGINS.get(name, "") for name in names) != [TEST, TRAIN]:
        expected = "one folder train (or training) and one folder test (or testing)"
        raise DataError(folder, f"the folders {listed(names)}", expected, "rename, add or remove folders")


def _class_files(folder: str, entries: list[Entry]) -> list[str]:
    for entry in entries:
        if not entry.is_folder and entry.name.lower().endswith(_SUFFIXES):
            raise DataError(entry.uri, "an image outside the class folders", "it in one of them", "move or remove it")
    folders = {entry.name: entry.uri for entry in entries if entry.is_folder}
    classes = f"class folders {CLASS_NAMES[0]} to {CLASS_NAMES[-1]} only"
    for name, uri in folders.items():
        if name not in CLASS_NAMES:
            raise DataError(uri, f"a folder named {name!r}", classes, "rename or remove it")
    for name in CLASS_NAMES:
        if name not in folders:
            raise DataError(f"{folder}/{name}", "no such class folder", classes, "add it with images of that class")
    return [uri for name in CLASS_NAMES for uri in _image_files(folders[name])]


def _image_files(folder: str) -> list[str]:
    entries = list_folder(folder)
    if not entries:
        raise DataError(folder, "an empty class folder", "at least one image", "add images of that class")
    for entry in entries:
        if entry.is_folder or not entry.name.lower().endswith(_SUFFIXES):
            kind = "a folder" if entry.is_folder else "a file that is no image"
            raise DataError(entry.uri, kind, f"only images ({', '.join(_SUFFIXES)})", "remove or convert it")
    return [entry.uri for entry in entries]


def _read_file(uri: str) -> bytes:
    with opened(uri) as file:
        return file.read()


def _pixels(content: bytes, uri: str) -> bytes:
    try:
        # Only this compares the checksums of a PNG file, but it leaves the image unusable.
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            image.verify()
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            check_image_size(uri, image.height, image.width)
            _check_depth(image.mode, content, uri)
            return _luminance(image).tobytes()
    except DataError:
        raise
    except _DAMAGE as error:
        # Pillow names the object it was given, which says nothing to a person.
        reason = quoted(content[:8]) if "cannot identify" in str(error) else str(error)
        found = f"an image that cannot be read ({reason})"
        raise DataError(uri, found, "an intact PNG or JPEG file", "write it again or remove it") from error


def _check_depth(mode: str, content: bytes, uri: str) -> None:
    is_deep = content.startswith(_PNG_MAGIC) and content[_PNG_DEPTH_OFFSET] > 8
    if is_deep or mode not in _OPAQUE_MODES + _TRANSPARENT_MODES:
        found = f"mode {mode}{' of 16 bits' if is_deep else ''}"
        raise DataError(uri, found, "8-bit greyscale, palette, RGB or RGBA", "convert it to 8-bit greyscale")


def _luminance(image: Image.Image) -> Image.Image:
    """Converts to ITU-R 601-2 luma, the transparent over black, which is the background of the digits."""
    if image.mode in _OPAQUE_MODES and "transparency" not in image.info:
        return image.convert("L")
    transparent = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "black"), transparent).convert("L")
