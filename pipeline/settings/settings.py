"""All settings of the pipeline, typed and validated before anything runs.

Values come, in increasing priority, from the defaults below, the profile, `digits tune` (if `tuned` is set), a TOML
file, the environment (`DIGITS_SECTION__KEY`) and the command line.
"""

import codecs
import difflib
import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, FilePath, ValidationError, field_validator
from pydantic_settings import EnvSettingsSource
from pydantic_settings import SettingsError as PydanticSettingsError

from components.data_gate.limits import DataLimits
from components.features import Contract
from components.schema import SchemaError, parse_contract
from components.serving_check.limits import ServingLimits
from components.trainer.hyperparameters import Hyperparameters
from pipeline.settings.beam import BeamSettings
from pipeline.settings.gates import EvaluationSettings, InfraValidatorSettings, RobustnessSettings
from pipeline.settings.kubeflow import KubeflowSettings
from pipeline.settings.section import Section
from registry.errors import UsageError
from registry.signing import TrustPolicy, prepare_private_key

PROJECT_ROOT = Path(__file__).resolve().parents[2]
DEFAULT_FILE = Path("digits.toml")
DEFAULT_NAME = "digits"
ENVIRONMENT_PREFIX = "DIGITS_"

Profile = Literal["smoke", "fast", "default"]

PROFILES: Mapping[str, Mapping[str, Any]] = {
    # Seconds of work: enough to test every step, too little for a good model.
    "smoke": {
        "data": {"max_images": 4_200, "num_shards": 2},
        "trainer": {"epochs": 4, "batch_size": 64},
        "evaluation": {
            "min_accuracy": 0.85,
            "min_class_accuracy": 0.5,
            "max_log_loss": 1.0,
            "max_calibration_error": 0.15,
            "max_accuracy_drop": 0.1,
            "max_class_drop": 0.5,
            "max_log_loss_rise": 0.5,
            "max_calibration_error_rise": 0.15,
        },
        "robustness": {
            "sample_fraction": 0.25,
            "min_mean_accuracy": 0.5,
            "min_accuracy": 0.1,
            "max_mean_drop": 0.4,
            "max_drop": 0.9,
        },
    },
    # All data, two epochs: accurate on clean images, less robust to corruptions.
    "fast": {
        "trainer": {"epochs": 2, "learning_rate": 0.015, "disturbed_share": 0.2},
        "robustness": {"min_mean_accuracy": 0.93, "min_accuracy": 0.75},
    },
    "default": {},
}


SMOKE_SUFFIX = "-smoke"
"""What the smoke profile adds to the name of a model."""

_PATTERN_CHARACTERS = "*?[\\"

_RENAMED: Mapping[str, str] = {
    "data.sample_fraction": "data.max_images",
    "data_gate.min_ink": "data_gate.min_saturated",
    "evaluation.min_digit_accuracy": "evaluation.min_class_accuracy",
    "evaluation.max_digit_drop": "evaluation.max_class_drop",
}
"""Settings of the last release, and those that replace them."""


class SettingsError(UsageError):
    """A setting does not exist or has an invalid value; the message names it and what is allowed."""


class DataSettings(Section):
    """The data and how it is split."""

    uri: str = Field(
        str(PROJECT_ROOT / "data" / "mnist.npz"),
        min_length=1,
        description="Image folders, npz, IDX, CSV or Parquet; local, s3://, gs:// or http(s)://; may contain {SPAN}.",
    )
    span: int | None = Field(None, ge=0, description="Span to read if the URI contains {SPAN}; default: the newest.")
    # The path is part of the cache key: a file must always have the same one.
    schema_file: Annotated[FilePath, AfterValidator(Path.resolve)] = Field(
        PROJECT_ROOT / "data" / "schema.pbtxt", description="The curated schema."
    )
    eval_fraction: float = Field(1 / 12, gt=0, lt=1, description="Share of the training images for eval.")
    test_fraction: float = Field(1 / 7, gt=0, lt=1, description="Share for test if the data has no test set.")
    max_images: int | None = Field(
        None, ge=1, description="Number of images to use, stratified by class; default: all."
    )
    num_shards: int = Field(8, ge=1, le=100_000, description="TFRecord files per split.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of splitting, sampling and order.")


_KeyFile = Annotated[FilePath, AfterValidator(Path.resolve)]


class SigningSettings(Section):
    """Who signs versions, and which versions may be used."""

    private_key: _KeyFile | None = Field(
        None, description="PEM file of the key that signs versions; default: a development key in the workspace."
    )
    public_key: _KeyFile | None = Field(
        None, description="PEM file of the key that must have signed a version; default: that of private_key."
    )
    allow_unverified: bool = Field(
        False, description="Whether any version may be used, even one that fails `digits verify`."
    )


class Settings(Section):
    """All settings of one run; `load_settings` adds profile, file and environment."""

    profile: Profile = Field("default", description="Set of defaults: smoke (for tests), fast or default.")
    name: str = Field(
        DEFAULT_NAME,
        pattern=r"^[a-z0-9][a-z0-9-]{0,49}$",
        description="Name of the pipeline and of the served model.",
    )
    workspace: Path = Field(
        Path("workspace"), validate_default=True, description="Folder for everything that a run writes."
    )
    tuned: bool = Field(False, description="Whether to train with the hyperparameters that `digits tune` has found.")
    enable_cache: bool = Field(True, description="Whether steps whose inputs have not changed are skipped.")
    data: DataSettings = DataSettings()
    trainer: Hyperparameters = Hyperparameters()
    data_gate: DataLimits = DataLimits()
    evaluation: EvaluationSettings = EvaluationSettings()
    robustness: RobustnessSettings = RobustnessSettings()
    serving_check: ServingLimits = ServingLimits()
    infra_validator: InfraValidatorSettings = InfraValidatorSettings()
    signing: SigningSettings = SigningSettings()
    beam: BeamSettings = BeamSettings()
    kubeflow: KubeflowSettings = KubeflowSettings()

    @field_validator("workspace", mode="before")
    @classmethod
    def _absolute(cls, path: object) -> Path:
        # An empty path would mean the current folder.
        if not str(path):
            raise ValueError("expected the path of a folder")
        absolute = Path(str(path)).expanduser().resolve()
        if absolute.exists() and not absolute.is_dir():
            raise ValueError("this is a file, expected a folder or the path of a new one")
        return absolute

    @property
    def pipeline_root(self) -> Path:
        """Folder of the artifacts."""
        return self.workspace / "pipeline_root"

    @property
    def metadata_file(self) -> Path:
        """The ML Metadata database."""
        return self.workspace / "metadata.sqlite"

    @property
    def serving_root(self) -> Path:
        """Folder with one sub-folder per model."""
        return self.workspace / "serving"

    @property
    def serving_directory(self) -> Path:
        """Folder with one sub-folder per version, which TF Serving watches."""
        return self.serving_root / self.name

    @property
    def tuning_directory(self) -> Path:
        """Folder of the searches for hyperparameters."""
        return self.workspace / "tuning"

    @property
    def tuned_file(self) -> Path:
        """TOML file of the best hyperparameters that `digits tune` has found."""
        return self.tuning_directory / f"{self.name}.toml"

    @property
    def trials_file(self) -> Path:
        """JSON file of the trials behind `tuned_file`, best first."""
        return self.tuned_file.with_suffix(".json")

    @property
    def private_key(self) -> Path:
        """File of the key that signs versions; the development key need not exist."""
        return self.signing.private_key or self.workspace / "development-signing-key.pem"

    def prepare_private_key(self, say: Callable[[str], None]) -> Path:
        """Checks the private key and returns its file; creates the development key if it is missing.

        Args:
            say: Called with a message if a key was created.

        Raises:
            SigningKeyError: The file is not a key that can sign, or the public key does not match it.
            OSError: The file cannot be read or written.
        """
        is_development = self.signing.private_key is None
        return prepare_private_key(self.private_key, self.signing.public_key, is_development=is_development, say=say)

    @property
    def trust_policy(self) -> TrustPolicy:
        """Which versions may be used; without a key, signatures are not checked."""
        public_key, is_development = self.signing.public_key or self.signing.private_key, False
        # Where models are served, there may be only the public half.
        for development_key in (self.private_key, self.private_key.with_suffix(".pub")):
            if public_key is None and development_key.exists():
                public_key, is_development = development_key, True
        return TrustPolicy(public_key, is_development, self.signing.allow_unverified)

    @property
    def log_directory(self) -> Path:
        """Folder with one log file per run."""
        return self.workspace / "logs"

    @property
    def report_directory(self) -> Path:
        """Folder with what `digits report` makes: a folder per report of a run, a page per comparison of two runs."""
        return self.workspace / "reports"


def load_settings(overrides: Mapping[str, Any] | None = None, file: Path | None = None) -> Settings:
    """Builds the settings from all sources.

    In the file, `data.uri` and `data.schema_file` are relative to its folder. The smoke profile adds `-smoke` to the
    name in the file, which keeps its versions apart from those of the model in production.

    Args:
        overrides: Nested values of the command line, such as `{"trainer": {"epochs": 3}}`.
        file: TOML file; defaults to `digits.toml` of the working directory if it exists.

    Returns:
        The validated, frozen settings.

    Raises:
        SettingsError: A key is unknown, a value is not allowed, or a file is missing or cannot be read.
    """
    _refuse_unknown_environment()
    try:
        # The annotation demands BaseSettings, which would read the environment by itself.
        environment = EnvSettingsSource(Settings, env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__")  # type: ignore[arg-type]
        from_file = _read_file(file)
        given = _merge(environment(), overrides or {})
        values = _merge(from_file, given)
        # Validation reports an unknown profile.
        profile = values.get("profile", "default")
        defaults = PROFILES.get(profile, {}) if isinstance(profile, str) else {}
        if profile == "smoke" and "name" not in given:
            values["name"] = f"{from_file.get('name', DEFAULT_NAME)}{SMOKE_SUFFIX}"
        settings = Settings(**_merge(defaults, values))
        _check_workspace(settings.workspace)
        return Settings(**_merge(_merge(defaults, _read_tuned(settings)), values)) if settings.tuned else settings
    except ValidationError as error:
        raise SettingsError("\n".join(_describe(error))) from error
    except PydanticSettingsError as error:
        raise SettingsError(f"environment: {error}") from error


def load_contract(settings: Settings) -> Contract:
    """Reads the contract from the schema, and checks that the settings fit it.

    Raises:
        SchemaError: The schema does not define the classes or the image size.
        SettingsError: The settings do not fit the images.
    """
    file = settings.data.schema_file
    try:
        contract = parse_contract(_read_text(file), str(file))
    except UnicodeDecodeError as error:
        raise SchemaError(f"{file}: not a schema in text format: {error}.") from error
    if settings.trainer.preparation == "ink" and contract.channels > 1:
        raise SettingsError(f"trainer.preparation: expected 'resize' for the color images of {file}, not 'ink'.")
    return contract


def reported_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that a report shows: all but those of the place, and of the data, which it shows elsewhere.

    Args:
        values: All settings, perhaps from an earlier release, in the types of JSON.
    """
    data = {key: value for key, value in values.get("data", {}).items() if key not in ("uri", "span")}
    return {key: value for key, value in values.items() if key not in ("workspace", "kubeflow")} | {"data": data}


def default_settings() -> dict[str, Any]:
    """Returns the defaults of the `reported_settings`."""
    return reported_settings(Settings().model_dump(mode="json"))


def parse_assignments(assignments: tuple[str, ...]) -> dict[str, Any]:
    """Converts `section.key=value` texts into nested values.

    Args:
        assignments: Texts such as `trainer.epochs=3`; the last one for a key wins.

    Returns:
        Nested strings, which validation converts into the types of the settings.

    Raises:
        SettingsError: A text has no `=` or no key.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        path = key.strip().split(".")
        if not separator or not all(path):
            raise SettingsError(f"{assignment!r}: expected section.key=value, such as trainer.epochs=3.")
        section = values
        for depth, part in enumerate(path[:-1], start=1):
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise SettingsError(f"{assignment}: {'.'.join(path[:depth])} is a value, not a section.")
        section[path[-1]] = value.strip()
    return values


def _merge(weaker: Mapping[str, Any], stronger: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(weaker)
    for key, value in stronger.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = _merge(below, value)
        merged[key] = value
    return merged


def _check_workspace(workspace: Path) -> None:
    if found := set(str(workspace)) & set(_PATTERN_CHARACTERS):
        raise SettingsError(
            f"workspace: {workspace} contains {' '.join(sorted(found))}, which TensorFlow and Beam take for a pattern; "
            "rename the folder, or choose another with --workspace."
        )
    if (encoding := sys.getfilesystemencoding()) != "utf-8" and not str(workspace).isascii():
        raise SettingsError(
            f"workspace: {workspace}: TensorFlow reads paths as UTF-8, but this locale encodes them as {encoding}; "
            "set LC_ALL=C.UTF-8, or choose a folder with an ASCII name with --workspace."
        )


def _read_file(file: Path | None) -> dict[str, Any]:
    path = file or DEFAULT_FILE
    if file is None and not path.exists():
        return {}
    try:
        # Editors on Windows write a byte order mark, which TOML does not allow.
        values = tomllib.loads(_read_text(path).removeprefix("\ufeff"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid TOML: {error}.") from error
    if isinstance(data := values.get("data"), dict):
        for key in {"schema_file", "uri"} & data.keys():
            if isinstance(value := data[key], str) and value and "://" not in value:
                data[key] = os.path.abspath(path.parent / os.path.expanduser(value))
    return values


def _read_text(file: Path) -> str:
    content = file.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SettingsError(f"{file}: this is UTF-16, which Windows PowerShell writes; save it as UTF-8.")
    return content.decode("utf-8")


def _read_tuned(settings: Settings) -> dict[str, Any]:
    if not settings.tuned_file.exists():
        raise SettingsError(f"{settings.tuned_file}: there are no tuned hyperparameters; run `digits tune` first.")
    return _read_file(settings.tuned_file)


def _refuse_unknown_environment() -> None:
    # pydantic-settings would ignore a misspelled variable.
    for variable in os.environ:
        if variable.startswith(ENVIRONMENT_PREFIX):
            field = variable.removeprefix(ENVIRONMENT_PREFIX).split("__")[0].lower()
            if field not in Settings.model_fields:
                raise SettingsError(f"environment: {variable}: {_unknown(field, Settings)}")


def _describe(error: ValidationError) -> Iterator[str]:
    for detail in error.errors():
        path = [str(part) for part in detail["loc"]]
        name = ".".join(path)
        if name in _RENAMED:
            section, key = _RENAMED[name].split(".")
            description = _section([section]).model_fields[key].description
            yield f"{name}: no such setting; use {_RENAMED[name]} instead: {description}"
        elif detail["type"] == "extra_forbidden":
            yield f"{name}: {_unknown(path[-1], _section(path[:-1]))}"
        elif detail["type"] == "model_type":
            keys = ", ".join(f"{name}.{key}" for key in _section(path).model_fields)
            yield f"{name}: a section, not a setting; expected one of {keys}."
        else:
            # The value of a whole section is too long to show.
            found = "" if len(path) == 1 and isinstance(detail["input"], dict) else f", not {detail['input']!r}"
            yield f"{name}: {detail['msg'].removeprefix('Value error, ')}{found}."


def _section(path: list[str]) -> type[BaseModel]:
    section: type[BaseModel] = Settings
    for part in path:
        section = _sections(section)[part]
    return section


def _sections(section: type[BaseModel]) -> dict[str, type[BaseModel]]:
    annotations = {name: field.annotation for name, field in section.model_fields.items()}
    return {name: kind for name, kind in annotations.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}


def _unknown(key: str, section: type[BaseModel]) -> str:
    allowed = sorted(section.model_fields)
    below = [f"{name}.{key}" for name, kind in _sections(section).items() if key in kind.model_fields]
    close = below or difflib.get_close_matches(key, allowed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"no such setting; {hint}Allowed: {', '.join(allowed)}."
