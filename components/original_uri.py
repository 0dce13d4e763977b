"""Where an artifact is for everybody, when a step is given a copy of it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfx.types import Artifact

ORIGINAL_URI_KEY = "original_uri"
"""Custom property of an artifact of which a step sees a copy: the URI of what is copied."""


def original_uri(artifact: "Artifact") -> str:
    """Returns the URI of what an artifact is a copy of, or its own if it is none."""
    return artifact.get_string_custom_property(ORIGINAL_URI_KEY) or str(artifact.uri)
