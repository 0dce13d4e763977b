"""Decodes image files: those that the graph can decode stay as they are, and the others become pixels."""

import io
import struct
import warnings

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ExifTags, ImageOps

from components.example_gen.sources.errors import DataError, corrupt, quoted
from components.example_gen.sources.source import Image, check_image_size
from registry.signatures import MAX_PIXELS

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")

# A camera's JPEG with a preview in the same file is an MPO.
_PLAIN_FORMATS = ("PNG", "JPEG", "MPO")
# Pillow has decoders for other formats that run programs.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")

# Pillow silently reduces 16-bit color to 8 bits; this byte of a PNG file has the depth
# (https://www.w3.org/TR/png-3/#11IHDR).
_PNG_DEPTH_OFFSET = 24

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error)


def decode_image(content: bytes, where: str) -> Image:
    """Decodes an image file.

    PNG and JPEG with 8 bits per channel, without palette, alpha or rotation stay encoded. Of all others, pixels with 16
    bits are reduced to the higher 8, colors are converted to RGB, the EXIF orientation is applied, and only the first
    frame is read.

    Args:
        content: The file; its name does not matter.
        where: Its URI, and its record if it is one of several.

    Raises:
        DataError: The file is damaged, too large, or in no supported format.
    """
    # Here, so that a run finds and fingerprints its data before it loads TensorFlow.
    import tensorflow as tf

    try:
        with warnings.catch_warnings():
            # The size is checked below.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            image = PIL.Image.open(io.BytesIO(content), formats=_FORMATS)
        with image:
            check_image_size(where, image.height, image.width)
            if _is_plain(image, content):
                decode = tf.io.decode_png if image.format == "PNG" else tf.io.decode_jpeg
                return Image(content, decode(content).numpy())
            return Image(None, _read_pixels(image, where))
    except PIL.Image.DecompressionBombError as error:
        expected = f"at most {MAX_PIXELS // 10**6} megapixels"
        raise DataError(where, f"a huge image ({error})", expected, "resize or remove it") from error
    except PIL.UnidentifiedImageError as error:
        found, expected = f"no readable image ({quoted(content[:8])}...)", f"one of {', '.join(_FORMATS)}"
        raise DataError(where, found, expected, "save it again or remove it") from error
    except tf.errors.InvalidArgumentError as error:
        raise corrupt(where, f"a damaged or truncated {image.format} file", "an intact image") from error
    except _DAMAGE as error:
        raise corrupt(where, f"an image that cannot be read ({error})", "an intact image") from error


def _is_plain(image: PIL.Image.Image, content: bytes) -> bool:
    """Returns whether TensorFlow decodes a file to what it shows."""
    is_deep = image.format == "PNG" and content[_PNG_DEPTH_OFFSET] > 8
    is_opaque = image.mode in ("L", "RGB") and "transparency" not in image.info
    # Looking for EXIF data that the header does not have would read the whole file.
    is_rotated = "exif" in image.info and image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return image.format in _PLAIN_FORMATS and is_opaque and not is_deep and not is_rotated


def _read_pixels(image: PIL.Image.Image, where: str) -> NDArray[np.uint8]:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return (np.asarray(image) >> 8).astype(np.uint8)[..., np.newaxis]
    if image.mode in ("I", "F"):
        found = f"pixels of 32 bits (mode {image.mode})"
        raise DataError(where, found, "8 or 16 bits per channel", "convert it to PNG with 8 bits per channel")
    has_alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    mode = ("L" if image.mode in ("1", "L", "LA", "La") else "RGB") + ("A" if has_alpha else "")
    return np.asarray(image.convert(mode)).reshape(image.height, image.width, -1)
