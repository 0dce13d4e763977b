"""How the pipeline runs on Kubeflow Pipelines: the `kubeflow` section of the settings."""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.settings.section import ImageReference, Section, matching

_QUANTITY = r"[0-9]+(\.[0-9]+)?(m|k|[MGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?"
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
_BUCKET_FOLDER = r"://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[^/{}\s]+)*/?"
_KFP_FOLDERS = ("/minio", "/s3", "/gcs", "/kfp-workspace", "/kfp-launcher")
"""Where KFP mounts its own volumes into the pods of steps."""


def _check_folder(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute() or len(path.parts) < 2 or ".." in path.parts:
        raise ValueError("expected the absolute path of a folder in the pods, such as /digits")
    if any(path.is_relative_to(folder) for folder in _KFP_FOLDERS):
        raise ValueError(f"expected a folder outside of those that KFP itself mounts, {', '.join(_KFP_FOLDERS)}")
    return path


def _split_names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _lower_keys(resources: "dict[str, StepResources]") -> "dict[str, StepResources]":
    # pydantic-settings reads the names of environment variables in lower case.
    return {step.lower(): needs for step, needs in resources.items()}


Quantity = Annotated[
    str,
    matching(
        _QUANTITY,
        "a Kubernetes quantity: a number, optionally with m, k, M, G, T, Ki, Mi, Gi or Ti, such as 500m or 4Gi",
    ),
]
# KFP names the volume after the claim or secret, and Kubernetes is stricter with the names of volumes.
ClaimName = Annotated[
    str, matching(_LABEL, "a DNS-1123 label: up to 63 of a-z, 0-9 and -, with a letter or digit first and last")
]
SecretName = Annotated[
    str,
    matching(_SUBDOMAIN, "a DNS-1123 subdomain: up to 253 of a-z, 0-9, - and ., with a letter or digit first and last"),
]
VariableName = Annotated[
    str,
    Field(min_length=1),
    matching(_VARIABLE, "the name of an environment variable: letters, digits and _, without a digit first"),
]
PodFolder = Annotated[PurePosixPath, AfterValidator(_check_folder)]


class StepResources(BaseModel):
    """The resources of one step; empty values default to those of all steps."""

    model_config = ConfigDict(frozen=True)

    cpu: Quantity = Field("", description="CPUs to reserve.")
    memory: Quantity = Field("", description="Memory to reserve, and the limit.")

    @model_validator(mode="before")
    @classmethod
    def _refuse_others(cls, values: Any) -> Any:
        unknown = set(values) - set(cls.model_fields) if isinstance(values, dict) else set()
        if unknown:
            raise ValueError(f"expected only {' and '.join(cls.model_fields)}")
        return values


class RetrySettings(Section):
    """How often and when a failed step is retried."""

    max_retries: int = Field(2, ge=0, le=100, description="Maximum number of retries.")
    first_back_off_s: int = Field(30, ge=1, le=86_400, description="Seconds before the first retry.")
    # Argo accepts integers only.
    factor: int = Field(2, ge=1, le=100, description="Factor by which each further delay grows.")
    time_limit_s: int = Field(
        86_400,
        ge=1,
        le=30 * 86_400,
        description="Seconds after the first start of a step in which it may be retried; includes its run time.",
    )


class KubeflowSettings(Section):
    """What the compiled pipeline needs from a cluster."""

    image: ImageReference = Field("digit-classifier:0.1.0", min_length=1, description="Image in which every step runs.")
    image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = Field(
        "", description="When nodes pull the image; if not set, always for the tag `latest`, otherwise if missing."
    )
    image_pull_secret: SecretName = Field("", description="Secret with the credentials of the image registry.")
    workspace: PodFolder = Field(
        PurePosixPath("/digits"),
        description="Folder in the pods; the serving folder and the signing key are mounted below it.",
    )
    serving_claim: ClaimName = Field(
        "serving-folder", min_length=1, description="PersistentVolumeClaim that holds the pushed versions."
    )
    serving_store: Annotated[str, matching(f"(s3|gs){_BUCKET_FOLDER}", "s3://BUCKET/FOLDER or gs://BUCKET/FOLDER")] = (
        Field("", description="s3:// or gs:// URL that holds the pushed versions instead.")
    )
    store_secret: SecretName = Field(
        "", description="Secret whose keys become environment variables of the steps that use object stores."
    )
    store_secret_keys: Annotated[tuple[VariableName, ...], BeforeValidator(_split_names)] = Field(
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), min_length=1, description="Keys of it, separated by commas."
    )
    signing_secret: ClaimName = Field(
        "", description="Secret with the key that signs versions, private_key.pem; without it, they are not signed."
    )
    data_claim: ClaimName = Field("", description="PersistentVolumeClaim with your own data.")
    data_folder: PodFolder = Field(PurePosixPath("/data"), description="Where MnistExampleGen mounts data_claim.")
    staging_claim: ClaimName = Field(
        "", description="ReadWriteMany claim through which Flink and Spark workers share files with the steps."
    )
    staging_folder: PodFolder = Field(PurePosixPath("/staging"), description="Where steps and workers mount it.")
    cpu: Quantity = Field("1", description="CPUs to reserve for each step; a step may use more if the node has more.")
    memory: Quantity = Field("4Gi", description="Memory to reserve for each step, and its limit.")
    resources: Annotated[dict[str, StepResources], AfterValidator(_lower_keys)] = Field(
        {}, description="`cpu` and `memory` of single steps, such as resources.Trainer.memory."
    )
    gpu_count: int = Field(0, ge=0, le=16, description="GPUs of the Trainer; its image needs CUDA for them.")
    gpu_type: str = Field(
        "nvidia.com/gpu",
        pattern=r"^([a-z0-9.-]+/[A-Za-z0-9._-]+|[A-Z][A-Z0-9_]*)$",
        description="Name of the GPU resource, such as nvidia.com/gpu, or NVIDIA_TESLA_T4 on Vertex AI.",
    )
    retries: RetrySettings = RetrySettings()
    vertex_root: Annotated[str, matching(f"gs{_BUCKET_FOLDER}", "gs://BUCKET/FOLDER")] = Field(
        "", description="gs:// URL below which Vertex AI stores artifacts."
    )
