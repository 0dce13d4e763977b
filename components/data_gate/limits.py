"""The `data_gate` section of the settings: limits for each split by itself.

The comparators in data/schema.pbtxt limit the distance between splits and from earlier data.
"""

from pydantic import BaseModel, ConfigDict, Field


class DataLimits(BaseModel):
    """Limits that need no other data to compare with.

    The smallest valid data is that of the smoke profile, 4,200 images of MNIST: 3,300, 300 and 600 images in train,
    eval and test, and 298, 27 and 53 of the rarest digit, 5.

    Share of zeros among all pixels: MNIST 0.81 (200 samples of 300 images: 0.802 to 0.817; the digit with most ink, 0:
    0.76), Fashion-MNIST 0.50; inverted MNIST 0.007, MNIST with any constant added 0. Share of 255: MNIST 0.0067 (200
    samples of 300 images: 0.0032 to 0.0105; the digit with least, 1: 0.0045), Fashion-MNIST 0.0081; 0 in MNIST with 20
    subtracted, at half the brightness, or after scaling to 0 to 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    enforced: bool = Field(True, description="Whether a refusal counts; `false` switches the gate off.")
    min_train_examples: int = Field(1_000, ge=1, description="Minimum number of images in train.")
    min_eval_examples: int = Field(200, ge=1, description="Minimum number of images in eval.")
    min_test_examples: int = Field(500, ge=1, description="Minimum number of images in test.")
    min_train_class_examples: int = Field(100, ge=0, description="Minimum number of images of each class in train.")
    min_eval_class_examples: int = Field(10, ge=0, description="Minimum number of images of each class in eval.")
    min_test_class_examples: int = Field(20, ge=0, description="Minimum number of images of each class in test.")
    min_background: float = Field(
        0.25, ge=0, le=1, description="Minimum share of zeros among all pixels of a split; 0 switches it off."
    )
    min_saturated: float = Field(
        0.001, ge=0, le=1, description="Minimum share of 255 among all pixels of a split; 0 switches it off."
    )
