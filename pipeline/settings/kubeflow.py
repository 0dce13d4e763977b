"""How the pipeline runs on Kubeflow Pipelines: the `kubeflow` section of the settings."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.settings.gates import Section
from pipeline.settings.image_reference import check_image_reference

_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|[MGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STORE = re.compile(r"(s3|gs)://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[^/{}\s]+)*/?")
_GCS_ROOT = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[^/{}\s]+)*/?")
_KFP_FOLDERS = ("/minio", "/s3", "/gcs", "/kfp-workspace", "/kfp-launcher")
"""Where KFP mounts volumes of its own into the pods of steps."""


def _matching(pattern: re.Pattern[str], rule: str, *, optional: bool = True) -> AfterValidator:
    def check(value: str) -> str:
        if (value or not optional) and not pattern.fullmatch(value):
            raise ValueError(f"expected {rule}")
        return value

    return AfterValidator(check)


def _check_folder(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute() or len(path.parts) < 2 or ".." in path.parts:
        raise ValueError("expected the absolute path of a folder in the pods, such as /digits")
    if any(path.is_relative_to(folder) for folder in _KFP_FOLDERS):
        raise ValueError(f"expected a folder outside of those that KFP itself mounts, {', '.join(_KFP_FOLDERS)}")
    return path


def _split_names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _check_steps(resources: "dict[str, StepResources]") -> "dict[str, StepResources]":
    # Names of environment variables have one case only.
    return {step.lower(): needs for step, needs in resources.items()}


Quantity = Annotated[
    str,
    _matching(_QUANTITY, "a Kubernetes quantity: a number, and m, k, M, G, T, Ki, Mi, Gi or Ti, such as 500m or 4Gi"),
]
# KFP makes the name of the claim that of the volume, for which Kubernetes has the stricter rule.
ClaimName = Annotated[
    str, _matching(_LABEL, "a DNS-1123 label: up to 63 of a-z, 0-9 and -, a letter or digit first and last")
]
SecretName = Annotated[
    str, _matching(_SUBDOMAIN, "a DNS-1123 subdomain: up to 253 of a-z, 0-9, - and ., a letter or digit first and last")
]
VariableName = Annotated[
    str,
    _matching(_VARIABLE, "the name of an environment variable: letters, digits and _, no digit first", optional=False),
]
PodFolder = Annotated[PurePosixPath, AfterValidator(_check_folder)]


class StepResources(BaseModel):
    """What one step asks for; empty is as for all steps."""

    model_config = ConfigDict(frozen=True)

    cpu: Quantity = Field("", description="CPUs to reserve.")
    memory: Quantity = Field("", description="Memory to reserve, which is also the most that the step may use.")

    @model_validator(mode="before")
    @classmethod
    def _refuse_others(cls, values: Any) -> Any:
        unknown = set(values) - set(cls.model_fields) if isinstance(values, dict) else set()
        if unknown:
            raise ValueError(f"expected {' and '.join(cls.model_fields)} only")
        return values


class RetrySettings(Section):
    """How often a failed step is tried again, and after how long."""

    max_retries: int = Field(2, ge=0, le=100, description="How often at most.")
    first_back_off_s: int = Field(30, ge=1, le=86_400, description="Seconds before the first retry.")
    # Argo, which counts them, knows no fractions.
    factor: int = Field(2, ge=1, le=100, description="How many times as long before each further one.")
    time_limit_s: int = Field(
        86_400,
        ge=1,
        le=30 * 86_400,
        description="Seconds after the first start of a step, its work included, in which it may be tried again.",
    )


class KubeflowSettings(Section):
    """What the compiled pipeline asks of a cluster."""

    image: Annotated[str, AfterValidator(check_image_reference)] = Field(
        "digit-classifier:0.1.0", description="Image in which every step runs."
    )
    image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = Field(
        "", description="When nodes pull it; if not set, always for the tag `latest`, else if it is not there."
    )
    image_pull_secret: SecretName = Field("", description="Secret with the credentials of its registry.")
    workspace: PodFolder = Field(
        PurePosixPath("/digits"), description="Folder in the pods; the serving folder is mounted below it."
    )
    serving_claim: ClaimName = Field(
        "serving-folder", min_length=1, description="PersistentVolumeClaim that holds the pushed versions."
    )
    serving_store: Annotated[str, _matching(_STORE, "s3://BUCKET/FOLDER or gs://BUCKET/FOLDER")] = Field(
        "", description="s3:// or gs:// URL that holds them instead."
    )
    store_secret: SecretName = Field(
        "", description="Secret whose keys are environment variables of the steps that use object stores."
    )
    store_secret_keys: Annotated[tuple[VariableName, ...], BeforeValidator(_split_names)] = Field(
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), min_length=1, description="Its keys, separated by commas."
    )
    data_claim: ClaimName = Field("", description="PersistentVolumeClaim with data of your own.")
    data_folder: PodFolder = Field(PurePosixPath("/data"), description="Where MnistExampleGen finds it.")
    staging_claim: ClaimName = Field(
        "", description="ReadWriteMany claim through which Flink and Spark workers share files with the steps."
    )
    staging_folder: PodFolder = Field(PurePosixPath("/staging"), description="Where steps and workers mount it.")
    cpu: Quantity = Field("1", description="CPUs to reserve for each step; it may use more where the node has more.")
    memory: Quantity = Field("4Gi", description="Memory to reserve for each step, which is also the most it may use.")
    resources: Annotated[dict[str, StepResources], AfterValidator(_check_steps)] = Field(
        {}, description="`cpu` and `memory` of single steps, such as resources.Trainer.memory."
    )
    gpu_count: int = Field(0, ge=0, le=16, description="GPUs of the Trainer; the image must have CUDA for them.")
    gpu_type: str = Field(
        "nvidia.com/gpu",
        pattern=r"^([a-z0-9.-]+/[A-Za-z0-9._-]+|[A-Z][A-Z0-9_]*)$",
        description="Name of the resource, such as nvidia.com/gpu, or on Vertex AI NVIDIA_TESLA_T4.",
    )
    retries: RetrySettings = RetrySettings()
    vertex_root: Annotated[str, _matching(_GCS_ROOT, "gs://BUCKET/FOLDER")] = Field(
        "", description="gs:// URL below which Vertex AI keeps artifacts."
    )
