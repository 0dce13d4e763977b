"""Reads and changes `models.config`, which tells TF Serving the versions to load and their labels.

TF Serving checks the labels of a new configuration before it loads anything, and refuses the configuration if a known
label moves to a version that is not loaded (ReloadConfig and UpdateModelVersionLabelMap of
tensorflow_serving/model_servers/server_core.cc, 2.20.0). Therefore such a label moves in two steps: one configuration
loads the version, and after all servers have read it, a second one moves the label. A server that is still loading
refuses the second step and accepts it at a later poll.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from filelock import FileLock, Timeout
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from registry.atomic_files import replace_file
from registry.errors import ExpectedError
from registry.versions import Version, list_versions

MODELS_CONFIG_FILE = "models.config"
"""Name of the file in the serving folder, next to the folders of the models."""

TF_SERVING_ROOT = "/models"
"""Mount point of the serving folder in deploy/compose.yaml and deploy/kubernetes."""

CONFIG_POLL_SECONDS = 5
"""How often TF Serving polls the file in the deployments of deploy/."""

READ_BY_ALL_SECONDS = 2.0 * CONFIG_POLL_SECONDS
"""Time after which every server has read a change of the file."""

_LOCK_FILE = ".models.config.lock"
_LOCK_TIMEOUT_SECONDS = 60.0
_PLATFORM = "tensorflow"
_HEADER = (
    "# Written by `digits label`, which keeps everything but comments and version policies. TF Serving polls it.\n"
)
# A label is part of a path in TF Serving's REST API: /v1/models/NAME/labels/LABEL:predict.
_LABEL = re.compile(r"[^/:\s]+")


class LabelError(ExpectedError):
    """A label cannot be read or set; the message says why, and what to do."""


@dataclass(frozen=True)
class ModelLabels:
    """The labels of a model.

    Attributes:
        labels: Version number by label.
        loaded: The loaded versions in ascending order; empty if another version policy selects them.
    """

    labels: Mapping[str, int] = field(default_factory=dict)
    loaded: tuple[int, ...] = ()


def label_steps(current: ModelLabels, label: str, version: int | None) -> tuple[ModelLabels, ...]:
    """Plans the configurations that move a label without a failed request.

    The previous version of a label stays loaded until the next change, so that pending requests succeed and a return to
    it needs no loading.

    Args:
        current: The current labels.
        label: The label to set.
        version: The new version of the label; None removes the label.

    Returns:
        The configurations in order; all servers must have read one before the next is written.

    Raises:
        LabelError: The label is not valid in a URL, or the label to remove does not exist.
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
    """Sets or removes a label of a model.

    Args:
        serving_root: Folder of `models.config` and of the models.
        model: Name of the model.
        label: The label to set.
        version: Number of an existing version; None removes the label.
        on_wait: Called before a wait, with its length in seconds.

    Returns:
        The new labels.

    Raises:
        LabelError: As `label_steps`, or `models.config` is not readable or is locked by another process.
        OSError: `models.config` is not writable.
    """
    file = serving_root / MODELS_CONFIG_FILE
    try:
        with FileLock(serving_root / _LOCK_FILE, timeout=_LOCK_TIMEOUT_SECONDS):
            config = read_models_config(file)
            # TF Serving does not serve a model without an entry, and does not start if a model has no version.
            for name in sorted({path.parents[1].name for path in serving_root.glob("*/[0-9]*/saved_model.pb")}):
                _entry(config, name)
            entry = _entry(config, model)
            current = _labels(entry)
            for step in label_steps(current, label, version):
                moves = any(current.labels.get(name, number) != number for name, number in step.labels.items())
                if moves and (seconds := _seconds_until_read(file)):
                    on_wait(seconds)
                    time.sleep(seconds)
                _set_labels(entry, step)
                _write(file, config)
                current = step
    except Timeout as error:
        raise LabelError(f"{file}: another `digits label` is changing it; wait for it, and try again.") from error
    return current


def read_labels(serving_root: Path, model: str) -> ModelLabels:
    """Returns the labels of a model.

    Raises:
        LabelError: `models.config` is not readable.
    """
    return _labels(_entry(read_models_config(serving_root / MODELS_CONFIG_FILE), model))


def read_models_config(file: Path) -> ModelServerConfig:
    """Reads a `models.config`, a tensorflow.serving.ModelServerConfig in text format; a missing file is empty.

    Raises:
        LabelError: The file has another format.
    """
    try:
        return text_format.Parse(file.read_text(encoding="utf-8"), ModelServerConfig())
    except FileNotFoundError:
        return ModelServerConfig()
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise LabelError(
            f"{file}: not a ModelServerConfig of TF Serving, line and column {error}. Fix or remove it; without it "
            "the newest version of each model is served."
        ) from error


def served_versions(serving_root: Path, model: str) -> list[Version]:
    """Returns the versions that TF Serving loads, of all models in `models.config` or, without this file, of one model.

    Raises:
        LabelError: `models.config` is not readable.
    """
    configs = read_models_config(serving_root / MODELS_CONFIG_FILE).model_config_list.config
    found: list[Version] = []
    for config in configs or [ModelConfig(name=model)]:
        versions = {version.number: version for version in list_versions(serving_root / config.name)}
        chosen = choose_versions(config, {number: each.directory for number, each in versions.items()}, lambda _: True)
        found += [versions[number] for number in sorted(chosen)]
    return found


def choose_versions(
    config: ModelConfig, versions: Mapping[int, Path], is_usable: Callable[[Path], bool]
) -> dict[int, Path]:
    """Returns the versions that a server loads.

    Args:
        config: Configuration of the model.
        versions: Folders of all its versions by number.
        is_usable: Called with the folder of a version; if it returns False, the version counts as missing.
    """
    policy = config.model_version_policy
    usable = (number for number in sorted(versions, reverse=True) if is_usable(versions[number]))
    match policy.WhichOneof("policy_choice"):
        case "all":
            chosen = list(usable)
        case "specific":
            labeled = set(policy.specific.versions)
            chosen = [number for number in labeled & versions.keys() if is_usable(versions[number])]
        case _:
            chosen = list(islice(usable, max(policy.latest.num_versions, 1)))
    return {number: versions[number] for number in chosen}


def _entry(config: ModelServerConfig, model: str) -> ModelConfig:
    """Returns the entry of a model, which is added if missing."""
    models = config.model_config_list.config
    for entry in models:
        if entry.name == model:
            return entry
    return models.add(name=model, base_path=f"{TF_SERVING_ROOT}/{model}", model_platform=_PLATFORM)


def _labels(entry: ModelConfig) -> ModelLabels:
    return ModelLabels(dict(entry.version_labels), tuple(sorted(entry.model_version_policy.specific.versions)))


def _set_labels(entry: ModelConfig, labels: ModelLabels) -> None:
    entry.version_labels.clear()
    entry.version_labels.update(labels.labels)
    entry.ClearField("model_version_policy")
    if labels.loaded:
        entry.model_version_policy.specific.versions.extend(labels.loaded)


def _seconds_until_read(file: Path) -> float:
    age = time.time() - file.stat().st_mtime
    return min(max(READ_BY_ALL_SECONDS - age, 0.0), READ_BY_ALL_SECONDS)


def _write(file: Path, config: ModelServerConfig) -> None:
    replace_file(file, _HEADER + text_format.MessageToString(config))
