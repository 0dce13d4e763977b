"""The data contract: the names of the features, the classes and the image size."""

from dataclasses import dataclass

IMAGE_KEY = "image"
LABEL_KEY = "label"
CORRUPTION_KEY = "corruption"
"""Name of a corruption; only in the examples of CorruptedExampleGen."""
BRIGHTNESS_MEAN_KEY = "brightness_mean"
BRIGHTNESS_DEVIATION_KEY = "brightness_deviation"
BACKGROUND_SHARE_KEY = "background_share"
SATURATED_SHARE_KEY = "saturated_share"

MAX_PIXEL = 255
LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""ITU-R BT.601 luma of red, green and blue. The weights add up to one, so that gray does not change."""

TRAIN_SPLIT = "train"
EVAL_SPLIT = "eval"
TEST_SPLIT = "test"
SPLITS = (TRAIN_SPLIT, EVAL_SPLIT, TEST_SPLIT)

SCHEMA_FILE = "schema.pbtxt"
"""Name of the schema in the artifact of ImportSchemaGen, in an `Examples` artifact and in a pushed version."""

ORIGINAL_URI_KEY = "original_uri"
"""Custom property of an artifact that is a local copy: its URI. The entry point of steps on Kubeflow sets it."""

# Execution properties of MnistExampleGen and properties of its examples.
URI_KEY = "uri"
SPAN_KEY = "span"
FINGERPRINT_KEY = "fingerprint"


@dataclass(frozen=True)
class Contract:
    """What the images of a data set show, and the size in which the network sees them.

    Attributes:
        classes: Names of the classes; the position of a name is the index of the class.
        height: Rows of pixels.
        width: Columns of pixels.
        channels: 1 for gray images, 3 for color images.
    """

    classes: tuple[str, ...]
    height: int
    width: int
    channels: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.height, self.width, self.channels
