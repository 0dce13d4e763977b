"""Where the data steps run: the `beam` section of the settings."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.settings.gates import Section
from pipeline.settings.image_reference import check_image_reference

Engine = Literal["direct", "flink", "spark", "dataflow"]

STAGING_ENGINES: frozenset[Engine] = frozenset({"flink", "spark"})
"""Engines whose workers see no file of the step that asks them: both need a folder that they share."""

LOCAL_FLINK = "[local]"
"""As `flink_master`: a cluster of its own inside the job server, for tests and for trying things out."""

_ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:[0-9]{1,5}")
_FLINK_MASTER = re.compile(rf"\[local\]|(https?://)?{_ADDRESS.pattern}")
_SPARK_MASTER = re.compile(rf"local(\[([0-9]+|\*)\])?|spark://{_ADDRESS.pattern}(,{_ADDRESS.pattern})*")
_STORAGE = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/\S*)?")


# Of a project also the older form with a domain: https://cloud.google.com/resource-manager/docs/creating-managing-projects
_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")


def _optional_image(value: str) -> str:
    return value and check_image_reference(value)


def _matching(pattern: re.Pattern[str], rule: str) -> AfterValidator:
    def check(value: str) -> str:
        if value and not pattern.fullmatch(value):
            raise ValueError(f"expected {rule}")
        return value

    return AfterValidator(check)


Address = Annotated[str, _matching(_ADDRESS, "HOST:PORT")]
Storage = Annotated[str, _matching(_STORAGE, "gs://BUCKET/FOLDER")]


class BeamSettings(Section):
    """The engine that runs ExampleGen, StatisticsGen, Transform, the evaluators and batch prediction."""

    engine: Engine = Field("direct", description="direct (in the process of the step), flink, spark or dataflow.")
    worker_pool: Address = Field(
        "",
        description="Flink, Spark: where every machine of the cluster finds its Python workers, such as "
        "localhost:50000; if not set, the step itself works, for a cluster on the same machine.",
    )
    job_endpoint: Address = Field(
        "",
        description="Flink, Spark: Beam's job server beside the cluster; if not set, each run starts one, with Java.",
    )
    job_server_jar: str = Field(
        "", description="Path or URL of the job server to start; if not set, Beam takes its own from Maven Central."
    )
    flink_master: Annotated[str, _matching(_FLINK_MASTER, "http://HOST:PORT or [local]")] = Field(
        "", description="Flink: address of the cluster, or [local] for one inside the job server."
    )
    flink_version: Literal["1.19", "1.20", "2.0", "2.1", "2.2"] = Field(
        "1.19", description="Flink: that of the cluster."
    )
    flink_parallelism: int | None = Field(
        None, ge=1, le=32_768, description="Flink: slots to use; if not set, as many as the cluster says."
    )
    spark_master: Annotated[str, _matching(_SPARK_MASTER, "spark://HOST:PORT or local[N]")] = Field(
        "", description="Spark: address of the cluster, or local[N]."
    )
    dataflow_project: Annotated[str, _matching(_PROJECT, "a project ID, such as my-project-1")] = Field(
        "", description="Dataflow: the Google Cloud project."
    )
    dataflow_region: Annotated[str, _matching(_REGION, "a region, such as europe-west1")] = Field(
        "", description="Dataflow: region of the workers, such as europe-west1."
    )
    dataflow_temp_location: Storage = Field("", description="Dataflow: gs:// folder for intermediate files.")
    dataflow_service_account: str = Field(
        "", description="Dataflow: whom the workers act as; if not set, Compute Engine's default service account."
    )
    dataflow_image: Annotated[str, AfterValidator(_optional_image)] = Field(
        "", description="Dataflow: image of the workers; docs/scaling.md says how to make it."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [name for name in self._needed() if not getattr(self, name)]
        if missing:
            names = " and ".join(f"beam.{name}" for name in missing)
            server = " or, of a job server that runs, beam.job_endpoint" if self.engine in STAGING_ENGINES else ""
            raise ValueError(f"the engine {self.engine} needs {names}{server}")
        return self

    def _needed(self) -> tuple[str, ...]:
        if self.engine == "dataflow":
            return "dataflow_project", "dataflow_region", "dataflow_temp_location", "dataflow_image"
        # A job server that is there already knows its cluster.
        if self.engine in STAGING_ENGINES and not self.job_endpoint:
            return (f"{self.engine}_master",)
        return ()
