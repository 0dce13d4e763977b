from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.settings.section import ImageReference

DIGEST = "sha256:" + "0a" * 32
ADAPTER: TypeAdapter[Any] = TypeAdapter(ImageReference)


@pytest.mark.parametrize(
    "reference",
    [
        "digit-classifier:0.1.0",
        "team/digits__ml:Release_1",
        "localhost/digits",
        "myhost:5000/digits:1",
        "Registry.Example.com:443/a/b.c/d--e:latest",
        "[2001:db8::1]:5000/digits",
        f"ghcr.io/team/digits:1@{DIGEST}",
        "",
    ],
)
def test_valid_image_references(reference: str) -> None:
    assert ADAPTER.validate_python(reference) == reference


@pytest.mark.parametrize(
    "reference",
    [
        *("Digits", "Team/digits", "registry.example.com/Digits:1", "digits classifier", "digits\n"),
        *("digits..x", "-digits", "team//digits", "https://example.com/digits", "example.com:port/digits"),
        *("digits:", "digits:.1", "digits:1:2", "digits:" + "1" * 129, "digits@sha256:0a", "digits@"),
        "{{$.inputs.parameters['image']}}",
    ],
)
def test_invalid_image_references(reference: str) -> None:
    with pytest.raises(ValidationError, match=r"expected an image: \[HOST\[:PORT\]/\]REPOSITORY"):
        ADAPTER.validate_python(reference)
