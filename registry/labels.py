"""Which versions of a model TF Serving loads, and which of them bear a label: its `models.config`, read and rewritten.

TF Serving checks the labels of a new configuration before it loads anything, and refuses the whole of it where a label
that it knows moves to a version that is not loaded (ReloadConfig and UpdateModelVersionLabelMap of
tensorflow_serving/model_servers/server_core.cc, 2.20.0). Such a label is therefore moved in two steps: a configuration
that loads the version, then, when every server has read it, one that moves the label. A server that is still loading
by then refuses the second step, keeps loading, and takes it at one of its next looks at the file.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

MODELS_CONFIG_FILE = "models.config"
"""Name of the file in the serving folder, beside the folders of the models."""

TF_SERVING_ROOT = "/models"
"""Where TF Serving sees the serving folder: deploy/compose.yaml and deploy/kubernetes mount it there."""

CONFIG_POLL_SECONDS = 5
"""How often TF Serving looks at the file, as deploy/ starts it."""

READ_BY_ALL_SECONDS = 2.0 * CONFIG_POLL_SECONDS
"""After this time every server has read a change of the file."""

_LOCK_FILE = ".models.config.lock"
_LOCK_TIMEOUT_SECONDS = 60.0
_PLATFORM = "tensorflow"
_HEADER = (
    "# Written by `digits label`, which keeps all but comments and version policies; TF Serving looks at it often.\n"
)
# A label is a part of the path in TF Serving's REST API: /v1/models/NAME/labels/LABEL:predict.
_LABEL = re.compile(r"[^/:\s]+")


class LabelError(RuntimeError):
    """A label cannot be read or set; the message says why, and what to do."""


@dataclass(frozen=True)
class ModelLabels:
    """What `models.config` says of one model.

    Attributes:
        labels: Version number by label.
        loaded: The versions that are loaded, in rising order; empty where another policy says which.
    """

    labels: Mapping[str, int] = field(default_factory=dict)
    loaded: tuple[int, ...] = ()


def label_steps(current: ModelLabels, label: str, version: int | None) -> tuple[ModelLabels, ...]:
    """Plans how a label comes to a version without a request that fails.

    What had a label before stays loaded until the next change: requests under way are answered, and the way back needs
    no loading.

    Args:
        current: What is in force.
        label: The label.
        version: The version that gets it; None takes the label away.

    Returns:
        What is to be in force, one after another; every server must have read the one before.

    Raises:
        LabelError: No URL can hold the label, or there is no such label to take away.
    """
    if not _LABEL.fullmatch(label):
        raise LabelError(f"{label!r}: a label is part of a URL; expected text without spaces, '/' and ':'.")
    if version is None and label not in current.labels:
        known = ", ".join(sorted(current.labels)) or "none"
        raise LabelError(f"{label}: there is no such label; the labels are: {known}.")
    others = {name: number for name, number in current.labels.items() if name != label}
    labels = others if version is None else {**others, label: version}
    loaded = {*current.labels.values(), *labels.values()} if labels else set()
    last = ModelLabels(labels, tuple(sorted(loaded)))
    if version is None or label not in current.labels or version in current.loaded:
        return (last,)
    return ModelLabels(current.labels, tuple(sorted({*current.loaded, *current.labels.values(), version}))), last


def set_label(
    serving_root: Path, model: str, label: str, version: int | None, on_wait: Callable[[float], None]
) -> ModelLabels:
    """Gives a label to a version of a model, or takes it away.

    Args:
        serving_root: Folder with one folder per model; `models.config` is in it.
        model: Name of the model.
        label: The label.
        version: Number of a version that is there; None takes the label away.
        on_wait: Called with the seconds that pass before the label moves, if any.

    Returns:
        What is in force at the end.

    Raises:
        LabelError: As for `label_steps`, or `models.config` cannot be read or is being changed by another process.
        OSError: It cannot be written.
    """
    file = serving_root / MODELS_CONFIG_FILE
    try:
        with FileLock(serving_root / _LOCK_FILE, timeout=_LOCK_TIMEOUT_SECONDS):
            config = with_models(read_models_config(file), _model_names(serving_root))
            current = model_labels(config, model)
            for step in label_steps(current, label, version):
                if _moves_a_label(current, step) and (seconds := _seconds_until_read(file)):
                    on_wait(seconds)
                    time.sleep(seconds)
                config = with_labels(config, model, step)
                _write(file, config)
                current = step
    except Timeout as error:
        raise LabelError(f"{file}: another `digits label` is changing it; wait for it, and try again.") from error
    return current


def read_labels(serving_root: Path, model: str) -> ModelLabels:
    """Returns what `models.config` says of a model.

    Raises:
        LabelError: The file cannot be read.
    """
    return model_labels(read_models_config(serving_root / MODELS_CONFIG_FILE), model)


def read_models_config(file: Path) -> ModelServerConfig:
    """Reads a `models.config`, a tensorflow.serving.ModelServerConfig as text; without the file it is empty.

    Raises:
        LabelError: It is no such text.
    """
    try:
        return text_format.Parse(file.read_text(encoding="utf-8"), ModelServerConfig())
    except FileNotFoundError:
        return ModelServerConfig()
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise LabelError(
            f"{file}: not a ModelServerConfig of TF Serving, line and column {error}. Mend or remove it; without it "
            "the newest version of each model is served."
        ) from error


def model_labels(config: ModelServerConfig, model: str) -> ModelLabels:
    """Returns what a configuration says of a model."""
    for entry in config.model_config_list.config:
        if entry.name == model:
            loaded = entry.model_version_policy.specific.versions
            return ModelLabels(dict(entry.version_labels), tuple(sorted(loaded)))
    return ModelLabels()


def with_models(config: ModelServerConfig, models: Iterable[str]) -> ModelServerConfig:
    """Returns a copy of a configuration that names these models, too: what it does not name is not served."""
    changed = ModelServerConfig()
    changed.CopyFrom(config)
    for model in models:
        _entry(changed, model)
    return changed


def with_labels(config: ModelServerConfig, model: str, labels: ModelLabels) -> ModelServerConfig:
    """Returns a copy of a configuration in which a model has these labels and loads these versions."""
    changed = ModelServerConfig()
    changed.CopyFrom(config)
    entry = _entry(changed, model)
    entry.version_labels.clear()
    entry.version_labels.update(labels.labels)
    entry.ClearField("model_version_policy")
    if labels.loaded:
        entry.model_version_policy.specific.versions.extend(labels.loaded)
    return changed


def _entry(config: ModelServerConfig, model: str) -> ModelConfig:
    models = config.model_config_list.config
    for entry in models:
        if entry.name == model:
            return entry
    return models.add(name=model, base_path=f"{TF_SERVING_ROOT}/{model}", model_platform=_PLATFORM)


def _model_names(serving_root: Path) -> list[str]:
    # TF Serving does not start with a model that has no version.
    return sorted({file.parents[1].name for file in serving_root.glob("*/[0-9]*/saved_model.pb")})


def _moves_a_label(current: ModelLabels, after: ModelLabels) -> bool:
    return any(current.labels.get(label, version) != version for label, version in after.labels.items())


def _seconds_until_read(file: Path) -> float:
    age = time.time() - file.stat().st_mtime
    return min(max(READ_BY_ALL_SECONDS - age, 0.0), READ_BY_ALL_SECONDS)


def _write(file: Path, config: ModelServerConfig) -> None:
    # Not a temporary file of the `tempfile` module: the server runs as another user, and has to be able to read it.
    staging = file.with_name(f".{file.name}.new")
    with staging.open("w", encoding="utf-8") as stream:
        stream.write(_HEADER + text_format.MessageToString(config))
        stream.flush()
        os.fsync(stream.fileno())
    staging.replace(file)
