"""Writes the InfraBlessing as TFX's InfraValidator does with `make_warmup`, so that any Pusher honours it.

The names of the files and properties are those of tfx/components/infra_validator/executor.py, where they are private.
"""

import os
from collections.abc import Iterable

from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tfx.types import Artifact
from tfx.utils import io_utils, path_utils

_BLESSED_PROPERTY = "blessed"
_HAS_MODEL_PROPERTY = "has_model"
_BLESSED_FILE = "INFRA_BLESSED"
_NOT_BLESSED_FILE = "INFRA_NOT_BLESSED"


def bless(blessing: Artifact, model_path: str, warm_up_requests: Iterable[PredictionLog]) -> None:
    """Marks a model as servable, and puts it with its warm-up requests into the blessing, from where it is pushed.

    Args:
        blessing: An `InfraBlessing`.
        model_path: Folder of the SavedModel.
        warm_up_requests: What TF Serving is to send it before it shows it.
    """
    stamped_model = path_utils.stamped_model_path(blessing.uri)
    io_utils.copy_dir(model_path, stamped_model)
    io_utils.write_tfrecord_file(path_utils.warmup_file_path(stamped_model), *warm_up_requests)
    blessing.set_int_custom_property(_HAS_MODEL_PROPERTY, 1)
    _mark(blessing, _BLESSED_FILE, blessed=True)


def refuse_blessing(blessing: Artifact) -> None:
    """Marks a model as not servable; nothing that could be pushed is put into the blessing.

    Args:
        blessing: An `InfraBlessing`.
    """
    _mark(blessing, _NOT_BLESSED_FILE, blessed=False)


def _mark(blessing: Artifact, file: str, *, blessed: bool) -> None:
    io_utils.write_string_file(os.path.join(blessing.uri, file), "")
    blessing.set_int_custom_property(_BLESSED_PROPERTY, int(blessed))
