"""Finds the images and TFRecords to predict, and reads the images into bytes that the model decodes."""

import mimetypes
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from registry.errors import UsageError
from registry.signatures import MAX_PIXELS
from serving.client.client import Input

STANDARD_INPUT = "-"
MAX_FILE_BYTES = 32 * 1024**2
"""Half of the default limit of `digits serve`: base64 makes four bytes of three."""

_SYSTEM_FILES = ("desktop.ini", "thumbs.db")
_RECORD_PATTERNS = ("*.tfrecord*", "*.gz")

_EXPECTED = "expected PNG, JPEG, GIF, BMP, WebP, TIFF, PGM or PPM"
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
# ISO/IEC 23008-12: photos of an iPhone, also if their names end with .jpg.
_HEIF_SUFFIXES = (".avif", ".heic", ".heif")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif")
# Pillow calls the JPEG of a phone with a second picture MPO. TensorFlow lacks some kinds of BMP.
_DECODED_BY_THE_MODEL = ("PNG", "JPEG", "MPO", "GIF")
_UPRIGHT = 1
_JPEG_QUALITY = 95
_MAX_BYTE = 255


class NoInputError(UsageError):
    """An argument does not name anything to predict."""


class ImageError(Exception):
    """A file is not an image that can be sent; the message says what was expected."""


@dataclass(frozen=True)
class Inputs:
    """Files in the order of the arguments, sorted by name within a folder.

    Attributes:
        images: Image files; `-` is standard input.
        record_files: TFRecords of raw tf.Examples.
        num_others: Number of files in the folders that are neither.
    """

    images: tuple[str, ...]
    record_files: tuple[str, ...]
    num_others: int = 0


def find_inputs(arguments: Sequence[str]) -> Inputs:
    """Finds the files to predict.

    Args:
        arguments: Image files of any name; TFRecords (`*.tfrecord*`, `*.gz`); folders, which are searched recursively
            for both without hidden and system files; `-` for an image from standard input. Files in a folder are images
            if their name or their content says so, even if they cannot be read.

    Raises:
        NoInputError: A file does not exist, or a folder has neither images nor TFRecords.
        OSError: A folder cannot be read.
    """
    sources: list[str] = []
    num_others = 0
    for argument in dict.fromkeys(arguments):
        if Path(argument).is_dir():
            found, num_found_others = _search(Path(argument))
            sources += found
            num_others += num_found_others
        else:
            sources.append(_existing_file(argument))
    return Inputs(
        images=tuple(source for source in sources if not _holds_records(source)),
        record_files=tuple(source for source in sources if _holds_records(source)),
        num_others=num_others,
    )


def read_images(sources: Iterable[str]) -> Iterator[Input]:
    """Reads image files, one at a time; an input without content says why a file could not be read."""
    for source in sources:
        try:
            yield Input(source, 0, read_image(source))
        except ImageError as error:
            yield Input(source, 0, b"", str(error))


def read_image(source: str) -> bytes:
    """Reads an image, and encodes it again if the model could not decode it or would see it rotated.

    TensorFlow, and so the model, ignores the orientation that cameras write into EXIF.

    Args:
        source: Path of the file, or `-` for standard input.

    Raises:
        ImageError: The file cannot be read, is not an image, is damaged or too large; the message omits its name.
    """
    content = _read(source)
    try:
        with warnings.catch_warnings():
            # Pillow's limit is far above ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # Of Pillow's other formats, some start programs.
            image = Image.open(BytesIO(content), formats=_FORMATS)
        decoded = image.format in _DECODED_BY_THE_MODEL and not _is_wide(image)
        if decoded and _orientation(image) == _UPRIGHT:
            return content
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(
                f"{image.width} x {image.height} pixels; the model accepts up to {MAX_PIXELS / 1e6:g} megapixels. Make "
                "the image smaller, and try again."
            )
        return _encode(ImageOps.exif_transpose(image), image.format)
    except UnidentifiedImageError as error:
        if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
            raise ImageError(
                "this is HEIC or AVIF, which cannot be read; convert it to JPEG or PNG, and try again."
            ) from error
        raise ImageError(f"this is not an image; {_EXPECTED}.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"this image is far too large: {error} Make it smaller, and try again.") from error
    except ImageError:
        raise
    # Pillow's plugins raise any exception on a damaged file.
    except Exception as error:
        raise ImageError(f"this image is damaged: {error}.") from error


def _existing_file(argument: str) -> str:
    path = Path(argument)
    if argument == STANDARD_INPUT or path.is_file():
        return argument
    if not path.exists():
        raise NoInputError(f"{argument}: no such file or folder.")
    raise NoInputError(f"{argument}: neither a file nor a folder.")


def _search(folder: Path) -> tuple[list[str], int]:
    """Returns the images and TFRecords below a folder, and the number of other files."""
    files = sorted(_files_below(folder))
    found = [str(file) for file in files if _holds_records(file.name) or _is_image(file)]
    if not found:
        raise NoInputError(
            f"{folder}: no image ({_EXPECTED}) and no TFRecord ({', '.join(_RECORD_PATTERNS)}) in this folder."
        )
    return found, len(files) - len(found)


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(parent, name)
            is_system_file = name.startswith(".") or name.lower() in _SYSTEM_FILES
            # A broken link is an error, which reading it reports; a socket or a pipe is no file.
            if not is_system_file and (file.is_file() or not file.exists()):
                yield file


def _raise(error: OSError) -> None:
    raise error


def _is_image(file: Path) -> bool:
    kind, _ = mimetypes.guess_type(file.name)
    suffix = file.suffix.lower()
    if (
        Image.registered_extensions().get(suffix) in _FORMATS
        or suffix in _HEIF_SUFFIXES
        or f"{kind}".startswith("image/")
    ):
        return True
    try:
        with Image.open(file, formats=_FORMATS):
            return True
    # Pillow's plugins raise any exception on a file of another format.
    except Exception:
        return False


def _holds_records(source: str) -> bool:
    return any(fnmatch(Path(source).name.lower(), pattern) for pattern in _RECORD_PATTERNS)


def _read(source: str) -> bytes:
    try:
        if source == STANDARD_INPUT:
            content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}.") from error
    if not content:
        raise ImageError(f"this file is empty; {_EXPECTED}.")
    if len(content) > MAX_FILE_BYTES:
        raise ImageError(f"more than {MAX_FILE_BYTES // 1024**2} MiB; make the image smaller, and try again.")
    return content


def _orientation(image: Image.Image) -> int:
    # To look for EXIF behind the pixels of a PNG, where nobody writes it, Pillow would decode them all.
    if image.format == "PNG" and "exif" not in image.info:
        return _UPRIGHT
    return image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)


def _is_wide(image: Image.Image) -> bool:
    """Whether the pixels are floats or integers of more than 8 bits."""
    return image.mode.startswith(("I", "F"))


def _to_bytes(image: Image.Image) -> Image.Image:
    """Scales wide pixels to 8 bits: floats up to 1, and integers up to the largest of as many bits as they use."""
    if not _is_wide(image):
        return image
    pixels = np.asarray(image, np.float64)
    if not np.isfinite(pixels).all():
        raise ImageError("this image has pixels that are NaN or infinite; expected finite numbers.")
    low, high = min(0.0, pixels.min()), pixels.max()
    white = 1.0 if image.mode == "F" and high <= 1 else 2.0 ** max(8, int(high).bit_length()) - 1
    return Image.fromarray(np.round((pixels - low) * (_MAX_BYTE / (white - low))).astype(np.uint8))


def _encode(image: Image.Image, original_format: str | None) -> bytes:
    encoded = BytesIO()
    image = _to_bytes(image)
    # A photo as a PNG would be ten times as large and take seconds.
    if original_format in ("JPEG", "MPO"):
        image = image if image.mode in ("L", "RGB") else image.convert("RGB")
        image.save(encoded, "JPEG", quality=_JPEG_QUALITY)
    else:
        image = image if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA") else image.convert("RGB")
        image.save(encoded, "PNG")
    return encoded.getvalue()
