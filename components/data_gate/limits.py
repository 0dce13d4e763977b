"""What the data gate asks of every split, whatever came before: the `data_gate` section of the settings.

How far two sets of data may be apart is part of their contract instead: the comparators in data/schema.pbtxt.
"""

from pydantic import BaseModel, ConfigDict, Field


class DataLimits(BaseModel):
    """The bounds that need no other data to compare with.

    The smallest honest data is that of the smoke profile, 6 % of MNIST: 3,300, 300 and 600 images in train, eval and
    test, of which the rarest digit, 5, has 298, 27 and 53.

    Share of zeros among all pixels: MNIST 0.81 (200 samples of 300 images: 0.802 to 0.817; the digit with most ink, 0:
    0.76), Fashion-MNIST about 0.50; inverted MNIST 0.007, MNIST with any constant added 0. Brightest pixel: 255 in
    MNIST and in each of 20 samples of 300 images; 235 with 20 subtracted, 127 at half the brightness, 1 where images
    were scaled to 0 to 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min_train_examples: int = Field(1_000, ge=1, description="Fewest images to learn from.")
    min_eval_examples: int = Field(200, ge=1, description="Fewest images to stop and calibrate on.")
    min_test_examples: int = Field(500, ge=1, description="Fewest images to judge a model on.")
    min_train_class_examples: int = Field(100, ge=0, description="Fewest images of any one class in train.")
    min_eval_class_examples: int = Field(10, ge=0, description="The same in eval.")
    min_test_class_examples: int = Field(20, ge=0, description="The same in test.")
    min_background: float = Field(0.25, ge=0, le=1, description="Lowest share of zeros among all pixels of a split.")
    min_ink: int = Field(250, ge=0, le=255, description="Lowest value of the brightest pixel of a split.")

    def min_examples(self, split: str) -> int:
        """Returns the fewest images that a split may hold."""
        return getattr(self, f"min_{split}_examples")

    def min_class_examples(self, split: str) -> int:
        """Returns the fewest images of any one class that a split may hold."""
        return getattr(self, f"min_{split}_class_examples")
