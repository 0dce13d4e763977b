"""Names, shapes and domains of the features: the one contract that every step and the schema share."""

IMAGE_KEY = "image"
LABEL_KEY = "label"

IMAGE_HEIGHT = 28
IMAGE_WIDTH = 28
IMAGE_SHAPE = (IMAGE_HEIGHT, IMAGE_WIDTH, 1)
IMAGE_SIZE = IMAGE_HEIGHT * IMAGE_WIDTH

MAX_PIXEL = 255
NUM_CLASSES = 10

TRAIN_SPLIT = "train"
EVAL_SPLIT = "eval"
TEST_SPLIT = "test"
SPLITS = (TRAIN_SPLIT, EVAL_SPLIT, TEST_SPLIT)

# Execution properties of MnistExampleGen and properties of its examples.
URI_KEY = "uri"
SPAN_KEY = "span"
FINGERPRINT_KEY = "fingerprint"
