"""Settings of ServingCheck, passed to its executor as JSON; imports neither TFX nor TensorFlow."""

from pydantic import BaseModel, ConfigDict, Field

from registry.signatures import MAX_BATCH

_LEAST, _MOST = min(MAX_BATCH.values()), max(MAX_BATCH.values())


class ServingLimits(BaseModel):
    """The requests to an export and the limits of its answers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    enforced: bool = Field(True, description="Whether a refusal counts; `false` switches the gate off.")
    num_requests: int = Field(64, ge=1, le=_LEAST, description="Images in the good request to each signature.")
    huge_batch: int = Field(
        _MOST, ge=1, le=_MOST, description="Images in the huge request to each signature, up to its limit."
    )
    tolerance: float = Field(
        1e-4, gt=0, le=0.01, description="Largest difference between a probability and that of the Python loader."
    )
    min_agreement: float = Field(
        0.95, ge=0, le=1, description="Smallest share of images with the same label as `examples`, the gated signature."
    )
    max_accuracy_drop: float = Field(
        0.01,
        ge=0,
        le=1,
        description="How far the accuracy on image files may be below evaluation.min_accuracy.",
    )
    max_latency_ms: float = Field(
        250.0, gt=0, description="Longest time to classify one image, in milliseconds, at the 99th percentile."
    )
    timeout_s: float = Field(300.0, gt=0, description="Longest time for loading and all requests, in seconds.")
