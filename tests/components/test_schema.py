"""Tests of components.schema."""

import pytest

from components.features import Contract
from components.schema import SchemaError, parse_contract, parse_schema

SCHEMA = """
feature { name: "image" type: BYTES annotation { tag: "height: 48" tag: "width: 64" tag: "channels: 3" } }
feature { name: "label" type: BYTES string_domain { value: "cat" value: "dog" } }
feature { name: "brightness_mean" type: FLOAT }
feature { name: "brightness_deviation" type: FLOAT }
"""


def test_the_contract_is_read() -> None:
    assert parse_contract(SCHEMA, "schema") == Contract(("cat", "dog"), 48, 64, 3)


@pytest.mark.parametrize(
    ("text", "replacement", "message"),
    [
        ('"label"', '"lable"', "expected a feature 'label' of type BYTES"),
        ('"label" type: BYTES', '"label" type: INT', "expected a feature 'label' of type BYTES"),
        ('"image"', '"picture"', "expected a feature 'image' of type BYTES"),
        ('mean" type: FLOAT', 'mean" type: INT', "expected a feature 'brightness_mean' of type FLOAT"),
        ("_deviation", "_std", "expected a feature 'brightness_deviation' of type FLOAT"),
        ('value: "dog"', "", r"at least two distinct class names, found \['cat'\]"),
        ('"dog"', '"cat"', "at least two distinct class names"),
        ('"dog"', '""', "at least two distinct class names"),
        ("channels: 3", "channels: 2", "'channels: C' .C is 1 or 3., found .*'channels: 2'"),
        ("width: 64", "width: 0", "the tags 'height: H', 'width: W'"),
        ('tag: "height: 48"', "", "the tags 'height: H', 'width: W'"),
    ],
)
def test_a_schema_without_a_contract_is_refused(text: str, replacement: str, message: str) -> None:
    assert text in SCHEMA
    with pytest.raises(SchemaError, match=f"^birds/schema.pbtxt: .*{message}"):
        parse_contract(SCHEMA.replace(text, replacement), "birds/schema.pbtxt")


def test_text_that_is_no_schema_is_refused_with_its_line() -> None:
    with pytest.raises(SchemaError, match="^birds/schema.pbtxt: not a schema in text format: 2:1 "):
        parse_schema("\nfeatures {}", "birds/schema.pbtxt")
