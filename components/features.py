"""The data contract: the names of the features, and the classes and the image size that the schema defines."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf import text_format
from tensorflow_metadata.proto.v0.schema_pb2 import BYTES, Feature, Schema

from registry.errors import UsageError

IMAGE_KEY = "image"
LABEL_KEY = "label"
BACKGROUND_SHARE_KEY = "background_share"
SATURATED_SHARE_KEY = "saturated_share"

MAX_PIXEL = 255
LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""ITU-R BT.601 luma of red, green and blue. The weights add up to one, so that gray does not change."""

TRAIN_SPLIT = "train"
EVAL_SPLIT = "eval"
TEST_SPLIT = "test"
SPLITS = (TRAIN_SPLIT, EVAL_SPLIT, TEST_SPLIT)

SCHEMA_FILE = "schema.pbtxt"
"""Name of the schema in the artifact of ImportSchemaGen, in an `Examples` artifact and in a pushed version."""

# Execution properties of MnistExampleGen and properties of its examples.
URI_KEY = "uri"
SPAN_KEY = "span"
FINGERPRINT_KEY = "fingerprint"

_SIZE = re.compile(r"(height|width|channels): ([1-9][0-9]*)")
_EXAMPLE = "see data/schema.pbtxt"


class SchemaError(UsageError):
    """A schema does not define the classes or the image size; the message says what is missing."""


@dataclass(frozen=True)
class Contract:
    """What the images of a data set show, and the size in which the network sees them.

    Attributes:
        classes: Names of the classes; the position of a name is the index of the class.
        height: Rows of pixels.
        width: Columns of pixels.
        channels: 1 for gray images, 3 for color images.
    """

    classes: tuple[str, ...]
    height: int
    width: int
    channels: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.height, self.width, self.channels


def read_contract(schema: Schema, where: str) -> Contract:
    """Reads the contract from a schema.

    The classes are the values of the `string_domain` of `label`. The size is in the tags of the annotation of `image`:
    `height: 28`, `width: 28` and `channels: 1`. TFDV would compare the `shape` of a feature with its number of values.

    Args:
        schema: The schema of the raw examples.
        where: Its file, for messages.

    Raises:
        SchemaError: The classes or the size are missing or not valid.
    """
    features = {feature.name: feature for feature in schema.feature}
    for key in (IMAGE_KEY, LABEL_KEY):
        if key not in features or features[key].type != BYTES:
            raise SchemaError(f"{where}: expected a feature {key!r} of type BYTES; {_EXAMPLE}.")
    classes = tuple(features[LABEL_KEY].string_domain.value)
    if len(classes) < 2 or len(set(classes)) < len(classes) or "" in classes:
        raise SchemaError(
            f"{where}: feature {LABEL_KEY!r}: expected a string_domain with at least two distinct class "
            f"names, found {list(classes)}; {_EXAMPLE}."
        )
    size = _read_size(features[IMAGE_KEY])
    if set(size) != {"height", "width", "channels"} or size["channels"] not in (1, 3):
        raise SchemaError(
            f"{where}: feature {IMAGE_KEY!r}: expected an annotation with the tags 'height: H', 'width: W' and "
            f"'channels: C' (C is 1 or 3), found {list(features[IMAGE_KEY].annotation.tag)}; {_EXAMPLE}."
        )
    return Contract(classes, **size)


def parse_schema(text: str, where: str) -> Schema:
    """Parses a schema in text format.

    Raises:
        SchemaError: It is not one; the message has the file `where` and the line.
    """
    try:
        return text_format.Parse(text, Schema())
    except text_format.ParseError as error:
        raise SchemaError(f"{where}: not a schema in text format: {error}; {_EXAMPLE}.") from error


def _read_size(image: Feature) -> Mapping[str, int]:
    found = (_SIZE.fullmatch(tag) for tag in image.annotation.tag)
    return {match[1]: int(match[2]) for match in found if match}
