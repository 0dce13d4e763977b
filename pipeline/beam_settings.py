"""Where the data steps run: the `beam` section of the settings."""

from typing import Literal

from pydantic import Field

from pipeline.gate_settings import Section

Engine = Literal["direct", "flink", "spark", "dataflow"]


class BeamSettings(Section):
    """The engine that runs ExampleGen, StatisticsGen, Transform, the evaluators and batch prediction."""

    engine: Engine = Field("direct", description="direct (in the process of the step), flink, spark or dataflow.")
