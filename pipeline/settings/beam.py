"""Defines the `beam` section of the settings: where the data steps run."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.settings.section import ImageReference, Section, matching

Engine = Literal["direct", "flink", "spark", "dataflow"]

STAGING_ENGINES: frozenset[Engine] = frozenset({"flink", "spark"})
"""Engines whose workers do not see the files of the step: they need a shared folder."""

_REQUIRED: dict[Engine, tuple[str, ...]] = {
    "direct": (),
    "flink": ("job_endpoint",),
    "spark": ("job_endpoint",),
    "dataflow": ("dataflow_project", "dataflow_region", "dataflow_temp_location", "dataflow_image"),
}

_ADDRESS = r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:[0-9]{1,5}"
_STORAGE = r"gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/\S*)?"
# Includes the older form of a project ID with a domain:
# https://cloud.google.com/resource-manager/docs/creating-managing-projects
_PROJECT = r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]"
_REGION = r"[a-z]+-[a-z]+[0-9]+"

Address = Annotated[str, matching(_ADDRESS, "HOST:PORT")]
Storage = Annotated[str, matching(_STORAGE, "gs://BUCKET/FOLDER")]


class BeamSettings(Section):
    """The engine that runs ExampleGen, StatisticsGen, Transform, the evaluators and batch prediction."""

    engine: Engine = Field("direct", description="direct (in the process of the step), flink, spark or dataflow.")
    job_endpoint: Address = Field("", description="Flink, Spark: address of Beam's job server for the cluster.")
    worker_pool: Address = Field(
        "",
        description="Flink, Spark: address where every machine of the cluster reaches its Python workers, such as "
        "localhost:50000; if not set, the step itself does the work, for a cluster on the same machine.",
    )
    flink_parallelism: int | None = Field(
        None, ge=1, le=32_768, description="Flink: number of slots; if not set, the default of the cluster."
    )
    dataflow_project: Annotated[str, matching(_PROJECT, "a project ID, such as my-project-1")] = Field(
        "", description="Dataflow: the Google Cloud project."
    )
    dataflow_region: Annotated[str, matching(_REGION, "a region, such as europe-west1")] = Field(
        "", description="Dataflow: region of the workers, such as europe-west1."
    )
    dataflow_temp_location: Storage = Field("", description="Dataflow: gs:// folder for intermediate files.")
    dataflow_service_account: str = Field(
        "", description="Dataflow: service account of the workers; if not set, Compute Engine's default one."
    )
    dataflow_image: ImageReference = Field("", description="Dataflow: image of the workers; see docs/scaling.md.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [name for name in _REQUIRED[self.engine] if not getattr(self, name)]
        if missing:
            names = " and ".join(f"beam.{name}" for name in missing)
            raise ValueError(f"the engine {self.engine} needs {names}; see docs/scaling.md")
        return self
