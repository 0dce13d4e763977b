"""Reads image files into bytes that the model decodes, the right way up."""

import sys
import warnings
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from serving.client.errors import ImageError

STANDARD_INPUT = "-"
MAX_FILE_BYTES = 32 * 1024**2
"""Half of the bodies that `digits serve` takes by default: base64 makes four bytes of three."""
MAX_PIXELS = 16_000_000
"""What the model takes; larger images are refused before they are turned, as the model would refuse them."""

_EXPECTED = "expected PNG, JPEG, GIF, BMP, WebP or TIFF"
# MPO is what Pillow calls the JPEG of a phone that holds a second picture. BMP has kinds that TensorFlow lacks.
_DECODED_BY_THE_MODEL = ("PNG", "JPEG", "MPO", "GIF")
_KEPT_BY_JPEG = ("L", "RGB")
_KEPT_BY_PNG = ("1", "L", "LA", "P", "RGB", "RGBA")
_UPRIGHT = 1
_JPEG_QUALITY = 95


def read_image(source: str) -> bytes:
    """Reads an image as it is, or encoded anew where the model would not decode it or would see it lying.

    The model, as all of TensorFlow, takes no notice of the orientation that cameras write into EXIF.

    Args:
        source: Path of the file, or `-` for standard input.

    Raises:
        ImageError: It cannot be read, is no image, is damaged, or is too large; the message does not repeat its name.
    """
    content = _read(source)
    try:
        with warnings.catch_warnings():
            # Its limit is far above ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(BytesIO(content))
        if image.format in _DECODED_BY_THE_MODEL and _orientation(image) == _UPRIGHT:
            return content
        _refuse_too_large(*image.size)
        return _encoded(ImageOps.exif_transpose(image), image.format)
    except UnidentifiedImageError as error:
        raise ImageError(f"this is no image that can be read; {_EXPECTED}.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"this image is far too large: {error} Make it smaller, and try again.") from error
    except ImageError:
        raise
    # Pillow's plug-ins raise whatever they run into in a damaged file.
    except Exception as error:
        raise ImageError(f"this image is damaged: {error}.") from error


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
        raise ImageError(f"there is nothing in it; {_EXPECTED}.")
    if len(content) > MAX_FILE_BYTES:
        raise ImageError(f"more than {MAX_FILE_BYTES // 1024**2} MiB; make the image smaller, and try again.")
    return content


def _orientation(image: Image.Image) -> int:
    # In search of EXIF behind the pixels of a PNG, where nobody writes it, Pillow would decode them all.
    if image.format == "PNG" and "exif" not in image.info:
        return _UPRIGHT
    return image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)


def _refuse_too_large(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{width} x {height} pixels; the model takes images of up to {MAX_PIXELS / 1e6:g} megapixels. Make it "
            "smaller, and try again."
        )


def _encoded(image: Image.Image, original_format: str | None) -> bytes:
    encoded = BytesIO()
    # As a PNG, a photo would be ten times the size, and take seconds.
    if original_format in ("JPEG", "MPO"):
        _in_mode(image, _KEPT_BY_JPEG).save(encoded, "JPEG", quality=_JPEG_QUALITY)
    else:
        _in_mode(image, _KEPT_BY_PNG).save(encoded, "PNG")
    return encoded.getvalue()


def _in_mode(image: Image.Image, kept: tuple[str, ...]) -> Image.Image:
    return image if image.mode in kept else image.convert("RGB")
