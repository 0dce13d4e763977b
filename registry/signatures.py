"""Names that every client and server of a pushed model shares; what they mean is stated in docs/serving.md."""

DEFAULT_MODEL_NAME = "digits"

SERVING_DEFAULT = "serving_default"
"""`image_bytes` string[n], encoded images of any size, polarity and position, to answers."""
PIXELS = "pixels"
"""`image` float32[n,28,28], 0 background to 255 ink, to answers."""
EXAMPLES = "examples"
"""`examples` string[n], serialized raw tf.Examples, to answers."""
NORMALIZE = "normalize"
"""`image_bytes` string[n] to `image` float32[n,28,28]: what the model sees, as `pixels` takes it."""

IMAGE_BYTES_INPUT = "image_bytes"
IMAGE_INPUT = "image"
EXAMPLES_INPUT = "examples"

NORMALIZED_IMAGE_OUTPUT = "image"

PROBABILITIES_OUTPUT = "probabilities"
DIGIT_OUTPUT = "digit"
CONFIDENCE_OUTPUT = "confidence"
STATUS_OUTPUT = "status"
ANSWER_OUTPUTS = (PROBABILITIES_OUTPUT, DIGIT_OUTPUT, CONFIDENCE_OUTPUT, STATUS_OUTPUT)

STATUS_OK = "ok"
STATUS_BLANK = "blank"
STATUS_LOW_CONFIDENCE = "low_confidence"

DEFAULT_REST_PORT = 8501
DEFAULT_GRPC_PORT = 8500
