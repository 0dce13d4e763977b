"""The keys that sign and verify versions: the `signing` section of the settings."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, FilePath

from pipeline.settings.section import Section

_KeyFile = Annotated[FilePath, AfterValidator(Path.resolve)]


class SigningSettings(Section):
    """Who signs versions, and which versions may be used."""

    private_key: _KeyFile | None = Field(
        None, description="PEM file of the key that signs versions; default: a development key in the workspace."
    )
    public_key: _KeyFile | None = Field(
        None, description="PEM file of the key that must have signed a version; default: that of the private key."
    )
    allow_unverified: bool = Field(
        False, description="Whether versions may be used that are not signed, have changed or have no provenance."
    )
