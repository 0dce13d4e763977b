"""MnistExampleGen: the component that turns images of any supported layout into the splits of the pipeline."""

from typing import ClassVar

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import Examples

from components.example_gen.data_version import FINGERPRINT_KEY, SPAN_KEY, URI_KEY, DataVersion
from components.example_gen.executor import (
    EVAL_FRACTION_KEY,
    EXAMPLES_KEY,
    NUM_SHARDS_KEY,
    SAMPLE_FRACTION_KEY,
    SEED_KEY,
    TEST_FRACTION_KEY,
    Executor,
)


class MnistExampleGenSpec(ComponentSpec):
    """Contract of MnistExampleGen."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        URI_KEY: ExecutionParameter(type=str),
        SPAN_KEY: ExecutionParameter(type=int),
        FINGERPRINT_KEY: ExecutionParameter(type=str),
        EVAL_FRACTION_KEY: ExecutionParameter(type=float),
        TEST_FRACTION_KEY: ExecutionParameter(type=float),
        SAMPLE_FRACTION_KEY: ExecutionParameter(type=float),
        SEED_KEY: ExecutionParameter(type=int),
        NUM_SHARDS_KEY: ExecutionParameter(type=int),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {}
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {EXAMPLES_KEY: ChannelParameter(type=Examples)}


class MnistExampleGen(BaseBeamComponent):
    """Reads npz, IDX, image folders or CSV and writes raw tf.Examples in splits train, eval and test.

    TFX's own ExampleGens read none of these but CSV; they split by a hash of the record, which is neither stratified
    nor keeps MNIST's test images apart.

    The splits are stratified by label and depend on nothing but the data and the seed. Its output, `examples`, holds
    gzipped TFRecords of `image` int64[784], 0 background to 255 ink, and `label` int64[1], 0 to 9. Its property `span`
    and its custom properties `uri` and `fingerprint` say which data this is.
    """

    SPEC_CLASS = MnistExampleGenSpec
    EXECUTOR_SPEC = BeamExecutorSpec(Executor)

    def __init__(
        self,
        data: DataVersion,
        *,
        eval_fraction: float,
        test_fraction: float,
        sample_fraction: float,
        seed: int,
        num_shards: int,
    ) -> None:
        """Defines the step for one version of the data.

        Args:
            data: Where the data is, its span, and the fingerprint of its content, which keys the cache. If the
                fingerprint is empty, the data is looked up when the step runs: the span, or the newest if it is -1.
            eval_fraction: Share of the training images that becomes eval.
            test_fraction: Share of all images that becomes test, where the data has no test set of its own.
            sample_fraction: Share of all images that is used at all.
            seed: Seed of the choice and of the order.
            num_shards: Files per split.
        """
        super().__init__(
            MnistExampleGenSpec(
                **{
                    URI_KEY: data.uri,
                    SPAN_KEY: data.span,
                    FINGERPRINT_KEY: data.fingerprint,
                    EVAL_FRACTION_KEY: eval_fraction,
                    TEST_FRACTION_KEY: test_fraction,
                    SAMPLE_FRACTION_KEY: sample_fraction,
                    SEED_KEY: seed,
                    NUM_SHARDS_KEY: num_shards,
                    EXAMPLES_KEY: Channel(type=Examples),
                }
            )
        )
