"""The component MnistExampleGen: images in any supported format to the splits of the pipeline."""

from typing import ClassVar

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import Examples, Schema

from components.example_gen.executor import (
    EVAL_FRACTION_KEY,
    EXAMPLES_KEY,
    MAX_IMAGES_KEY,
    NUM_SHARDS_KEY,
    PREPARATION_KEY,
    SCHEMA_KEY,
    SEED_KEY,
    TEST_FRACTION_KEY,
    Executor,
)
from components.example_gen.sources.detection import DataVersion
from components.features import FINGERPRINT_KEY, SPAN_KEY, URI_KEY


class MnistExampleGenSpec(ComponentSpec):
    """Contract of MnistExampleGen."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        **{key: ExecutionParameter(type=str) for key in (URI_KEY, FINGERPRINT_KEY, PREPARATION_KEY)},
        **{key: ExecutionParameter(type=float) for key in (EVAL_FRACTION_KEY, TEST_FRACTION_KEY)},
        **{key: ExecutionParameter(type=int) for key in (SPAN_KEY, MAX_IMAGES_KEY, SEED_KEY, NUM_SHARDS_KEY)},
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {SCHEMA_KEY: ChannelParameter(type=Schema)}
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {EXAMPLES_KEY: ChannelParameter(type=Examples)}


class MnistExampleGen(BaseBeamComponent):
    """Ingests labeled images in any supported format and writes raw tf.Examples in the splits train, eval and test.

    TFX's own ExampleGens read no images, and they split by a hash of the record, which neither stratifies nor keeps the
    test set of the data apart. These splits are stratified by label and depend only on the data and the seed.

    The output `examples` has gzipped TFRecords of `image`, an encoded image, `label`, the name of its class, and
    features that summarize the image, and the schema. Its property `span` and its custom properties `uri` and
    `fingerprint` identify the data.
    """

    SPEC_CLASS = MnistExampleGenSpec
    EXECUTOR_SPEC = BeamExecutorSpec(Executor)

    def __init__(
        self,
        data: DataVersion,
        *,
        schema: BaseChannel,
        eval_fraction: float,
        test_fraction: float,
        max_images: int,
        seed: int,
        num_shards: int,
        preparation: str,
    ) -> None:
        """Configures the step.

        Args:
            data: The data and its fingerprint, which is part of the cache key. If the fingerprint is empty, the step
                finds the data when it runs, the newest span for -1.
            schema: The schema, which defines the data contract.
            eval_fraction: Fraction of the training images that become eval, if the data has no validation set.
            test_fraction: Fraction of all images that become test, if the data has no test set.
            max_images: Number of images to use, the same fraction of each class; 0 uses all.
            seed: Seed of the order of the records.
            num_shards: Files per split.
            preparation: `ink` if images are light ink on black, which may be in their alpha channel, else `resize`.
        """
        super().__init__(
            MnistExampleGenSpec(
                **{
                    SCHEMA_KEY: schema,
                    URI_KEY: data.uri,
                    SPAN_KEY: data.span,
                    FINGERPRINT_KEY: data.fingerprint,
                    EVAL_FRACTION_KEY: eval_fraction,
                    TEST_FRACTION_KEY: test_fraction,
                    MAX_IMAGES_KEY: max_images,
                    SEED_KEY: seed,
                    NUM_SHARDS_KEY: num_shards,
                    PREPARATION_KEY: preparation,
                    EXAMPLES_KEY: Channel(type=Examples),
                }
            )
        )
