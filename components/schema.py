"""Reads the data contract from the schema, `schema.pbtxt`."""

import re
from collections.abc import Mapping

from google.protobuf import text_format
from tensorflow_metadata.proto.v0.schema_pb2 import BYTES, FLOAT, Feature, FeatureType, Schema

from components.features import BRIGHTNESS_DEVIATION_KEY, BRIGHTNESS_MEAN_KEY, IMAGE_KEY, LABEL_KEY, Contract
from registry.errors import UsageError

_TYPES = {IMAGE_KEY: BYTES, LABEL_KEY: BYTES, BRIGHTNESS_MEAN_KEY: FLOAT, BRIGHTNESS_DEVIATION_KEY: FLOAT}
"""Features that steps other than TFDV's read."""

_SIZE = re.compile(r"(height|width|channels): ([1-9][0-9]*)")
_EXAMPLE = "see data/schema.pbtxt"


class SchemaError(UsageError):
    """A schema does not define the classes or the image size; the message says what is missing."""


def parse_contract(text: str, where: str) -> Contract:
    """Reads the contract from a schema in text format: `parse_schema` and `read_contract`."""
    return read_contract(parse_schema(text, where), where)


def read_contract(schema: Schema, where: str) -> Contract:
    """Reads the contract from a schema.

    The classes are the values of the `string_domain` of `label`. The size is in the tags of the annotation of `image`:
    `height: 28`, `width: 28` and `channels: 1`. TFDV would compare the `shape` of a feature with its number of values.

    Args:
        schema: The schema of the raw examples.
        where: Its file, for messages.

    Raises:
        SchemaError: The classes, the size or a feature that steps read are missing or not valid.
    """
    features = {feature.name: feature for feature in schema.feature}
    for key, feature_type in _TYPES.items():
        if key not in features or features[key].type != feature_type:
            name = FeatureType.Name(feature_type)
            raise SchemaError(f"{where}: expected a feature {key!r} of type {name}; {_EXAMPLE}.")
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
    # TFX and TFDV, which read the same file, do not accept it.
    if text.startswith("\ufeff"):
        raise SchemaError(f"{where}: this starts with a byte order mark; save it as UTF-8 without BOM.")
    try:
        return text_format.Parse(text, Schema())
    except text_format.ParseError as error:
        raise SchemaError(f"{where}: not a schema in text format: {error}; {_EXAMPLE}.") from error


def _read_size(image: Feature) -> Mapping[str, int]:
    found = (_SIZE.fullmatch(tag) for tag in image.annotation.tag)
    return {match[1]: int(match[2]) for match in found if match}
