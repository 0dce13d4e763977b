"""How the pipeline runs on Kubeflow Pipelines: the `kubeflow` section of the settings."""

from pathlib import PurePosixPath

from pydantic import Field

from pipeline.gate_settings import Section


class KubeflowSettings(Section):
    """What the compiled pipeline asks of a cluster."""

    image: str = Field("digit-classifier:0.1.0", description="Image in which every step runs.")
    workspace: PurePosixPath = Field(
        PurePosixPath("/digits"), description="Folder in the pods; the serving folder is mounted below it."
    )
    serving_claim: str = Field("serving-folder", description="PersistentVolumeClaim that holds the pushed versions.")
    serving_store: str = Field("", description="s3:// or gs:// URL that holds them instead.")
