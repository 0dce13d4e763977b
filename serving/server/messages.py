"""What is asked of the model server and what it answers, whichever API it came by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np


class Api(StrEnum):
    """How a request came."""

    REST = "REST"
    GRPC = "GRPC"


@dataclass(frozen=True)
class ModelRequest:
    """A request for answers of a model.

    Attributes:
        name: Of the model.
        version: Its number, or None for the newest or that with the label.
        label: Of the version, or None.
        signature: Empty for `serving_default`.
        inputs: By name. Texts are arrays of `bytes` objects, because NumPy's own lose zeros at the end.
        outputs: Names of those wanted; empty for all.
        api: How it came.
    """

    name: str
    version: int | None
    label: str | None
    signature: str
    inputs: Mapping[str, np.ndarray]
    outputs: tuple[str, ...] = ()
    api: Api = Api.REST


@dataclass(frozen=True)
class ModelAnswer:
    """What the model answered.

    Attributes:
        name: Of the model.
        version: Number of the version that answered.
        signature: Name of the signature that answered.
        outputs: By name; texts are arrays of `bytes` objects.
    """

    name: str
    version: int
    signature: str
    outputs: dict[str, np.ndarray]


class VersionState(StrEnum):
    """TF Serving's `ModelVersionStatus.State`."""

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


@dataclass(frozen=True)
class VersionStatus:
    """How a version fares.

    Attributes:
        version: Its number.
        state: Where it is between being found and being gone.
        error_code: TF Serving's name of what went wrong; `OK` where nothing did.
        error_message: What went wrong; empty where nothing did.
    """

    version: int
    state: VersionState
    error_code: str = field(default="OK")
    error_message: str = field(default="")
