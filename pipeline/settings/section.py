"""The base class of all settings sections, and types for text that must match a pattern."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the settings: frozen, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def matching(pattern: str, expected: str) -> AfterValidator:
    """Returns a validator of optional text.

    Args:
        pattern: Regular expression for the whole text.
        expected: Describes it in the error message.
    """

    def check(value: str) -> str:
        if value and not re.fullmatch(pattern, value):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


# A subset of https://pkg.go.dev/github.com/distribution/reference: a cluster reports a wrong name only when it pulls.
_HOST = r"(localhost|\[[0-9A-Fa-f:]+\]|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:))(:[0-9]+)?/"
_REPOSITORY = r"[a-z0-9]+(([._/]|__|-+)[a-z0-9]+)*"
_TAG_AND_DIGEST = r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"

ImageReference = Annotated[
    str,
    matching(
        rf"({_HOST})?{_REPOSITORY}{_TAG_AND_DIGEST}",
        "an image: [HOST[:PORT]/]REPOSITORY[:TAG][@sha256:DIGEST], the repository in lower case and the tag of up to "
        "128 letters, digits, _, . and -, such as registry.example.com:5000/team/digits:1.0",
    ),
]
