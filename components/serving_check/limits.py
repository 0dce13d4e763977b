"""What can be set about the check of an export: handed to the executor as JSON."""

from pydantic import BaseModel, ConfigDict, Field


class ServingLimits(BaseModel):
    """What is asked of an export, and what its answers must keep."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    num_requests: int = Field(64, ge=1, le=4096, description="Images in the good request to each signature.")
    huge_batch: int = Field(4096, ge=1, le=65_536, description="Images in the huge request to each signature.")
    tolerance: float = Field(
        1e-4, gt=0, le=0.01, description="How far a probability may be from what the Python loader answers."
    )
    min_agreement: float = Field(
        0.95, ge=0, le=1, description="Least share of images that get the digit that `examples`, which is gated, gives."
    )
    max_latency_ms: float = Field(
        250.0, gt=0, description="Longest time to answer one image, in milliseconds, at the 99th percentile."
    )
    timeout_s: float = Field(120.0, gt=0, description="Longest time for loading and all requests, in seconds.")
