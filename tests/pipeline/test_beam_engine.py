import os

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from tfx.utils.dependency_utils import make_beam_dependency_flags

from pipeline.beam_engine import direct_runner_args


def test_beam_runs_in_this_process() -> None:
    options = PipelineOptions(direct_runner_args())
    assert options.view_as(DirectOptions).direct_running_mode == "in_memory"
    with beam.Pipeline(options=options) as pipeline:
        processes = pipeline | beam.Create([1, 2]) | beam.Map(lambda _: os.getpid()) | beam.Distinct()
        assert_that(processes, equal_to([os.getpid()]))


def test_tfx_packs_no_sources_for_workers_that_there_are_none_of() -> None:
    assert make_beam_dependency_flags(direct_runner_args()) == direct_runner_args()
