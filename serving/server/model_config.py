"""What is to be served: what is in the serving folder, and what `models.config` says of it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from registry.labels import MODELS_CONFIG_FILE, read_models_config

_SAVED_MODEL_FILE = "saved_model.pb"
_MAX_NUMBER = 2**63 - 1


def read_model_configs(serving_root: Path) -> dict[str, ModelConfig]:
    """Reads what is to be served.

    Of `models.config` it takes the names, the version policies and the labels; the paths in it are those of TF
    Serving's container.

    Args:
        serving_root: Folder with a sub-folder for each model and, if labels or a policy are wanted, `models.config`.

    Returns:
        The models by name; without the file, or where it names none, every folder is one, of which the newest version
        is served.

    Raises:
        registry.labels.LabelError: The file cannot be read.
        OSError: Neither can the folder.
    """
    configured = read_models_config(serving_root / MODELS_CONFIG_FILE).model_config_list.config
    if configured:
        return {config.name: config for config in configured}
    return {path.name: ModelConfig(name=path.name) for path in serving_root.iterdir() if _is_model(path)}


def find_versions(model_directory: Path) -> dict[int, Path]:
    """Finds the complete versions of a model.

    Args:
        model_directory: Folder of the model.

    Returns:
        Their folders by number. What is no number, or holds no SavedModel, is none.

    Raises:
        OSError: The folder cannot be read; TF Serving, too, then changes nothing.
    """
    folders = {_version_number(path.name): path for path in model_directory.iterdir()}
    return {
        number: path for number, path in folders.items() if number is not None and (path / _SAVED_MODEL_FILE).is_file()
    }


def choose_versions(config: ModelConfig, versions: Mapping[int, Path]) -> dict[int, Path]:
    """Chooses the versions to be served by the policy of a model, which without one is the newest.

    Args:
        config: Of the model.
        versions: Those that there are: their folders by number.
    """
    policy = config.model_version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            chosen: Iterable[int] = versions
        case "specific":
            chosen = versions.keys() & set(policy.specific.versions)
        case _:
            chosen = sorted(versions)[-max(policy.latest.num_versions, 1) :]
    return {number: versions[number] for number in chosen}


def _is_model(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _version_number(name: str) -> int | None:
    number = int(name) if name.isascii() and name.isdecimal() else None
    return number if number is not None and number <= _MAX_NUMBER else None
