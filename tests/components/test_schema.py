"""Tests of components.schema."""

import pytest

from components.features import Contract
from components.schema import SchemaError, parse_schema, read_contract

IMAGE = 'feature { name: "image" type: BYTES annotation { tag: "height: 48" tag: "width: 64" tag: "channels: 3" } }'
LABEL = 'feature { name: "label" type: BYTES string_domain { value: "cat" value: "dog" } }'


def test_the_contract_is_read() -> None:
    schema = parse_schema(IMAGE + LABEL, "birds/schema.pbtxt")
    assert read_contract(schema, "birds/schema.pbtxt") == Contract(("cat", "dog"), 48, 64, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (IMAGE, "expected a feature 'label' of type BYTES"),
        (IMAGE + LABEL.replace("BYTES", "INT"), "expected a feature 'label' of type BYTES"),
        (LABEL, "expected a feature 'image' of type BYTES"),
        (IMAGE + LABEL.replace('value: "dog"', ""), r"at least two distinct class names, found \['cat'\]"),
        (IMAGE + LABEL.replace("dog", "cat"), "at least two distinct class names"),
        (IMAGE + LABEL.replace("dog", ""), "at least two distinct class names"),
        (IMAGE.replace("channels: 3", "channels: 2") + LABEL, "'channels: C' .C is 1 or 3., found .*'channels: 2'"),
        (IMAGE.replace("width: 64", "width: 0") + LABEL, "the tags 'height: H', 'width: W'"),
        (IMAGE.replace('tag: "height: 48"', "") + LABEL, "the tags 'height: H', 'width: W'"),
    ],
)
def test_a_schema_without_a_contract_is_refused(text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=f"^birds/schema.pbtxt: .*{message}"):
        read_contract(parse_schema(text, "birds/schema.pbtxt"), "birds/schema.pbtxt")


def test_text_that_is_no_schema_is_refused_with_its_line() -> None:
    with pytest.raises(SchemaError, match="^birds/schema.pbtxt: not a schema in text format: 2:1 "):
        parse_schema("\nfeatures {}", "birds/schema.pbtxt")
