"""CorruptedExampleGen: the component that makes corrupted copies of a split, for gating on robustness."""

from typing import ClassVar

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import Examples

from components.features import TEST_SPLIT
from components.robustness.executor import (
    CORRUPTED_EXAMPLES_KEY,
    EXAMPLES_KEY,
    SAMPLE_FRACTION_KEY,
    SEED_KEY,
    SPLIT_KEY,
    Executor,
)


class CorruptedExampleGenSpec(ComponentSpec):
    """Contract of CorruptedExampleGen."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        SPLIT_KEY: ExecutionParameter(type=str),
        SEED_KEY: ExecutionParameter(type=int),
        SAMPLE_FRACTION_KEY: ExecutionParameter(type=float),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {EXAMPLES_KEY: ChannelParameter(type=Examples)}
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {CORRUPTED_EXAMPLES_KEY: ChannelParameter(type=Examples)}


class CorruptedExampleGen(BaseBeamComponent):
    """Writes copies of the examples of a split, corrupted in each of the 15 ways of MNIST-C.

    TFX has no component that makes examples out of examples but Transform, whose work becomes part of the model.

    Its output, `corrupted_examples`, has one split, `test`: gzipped TFRecords of `image` int64[784], `label` int64[1]
    and `corruption`, the name of the corruption, one file for each file and corruption. They depend on nothing but the
    examples and the seed.
    """

    SPEC_CLASS = CorruptedExampleGenSpec
    EXECUTOR_SPEC = BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: BaseChannel,
        *,
        split: str = TEST_SPLIT,
        seed: int,
        sample_fraction: float,
    ) -> None:
        """Defines the step.

        Args:
            examples: Raw tf.Examples, as MnistExampleGen writes them.
            split: Which split to corrupt.
            seed: Seed of the corruptions, not negative.
            sample_fraction: Share of the split that each corruption is applied to, above 0 and up to 1.

        Raises:
            ValueError: The seed or the share is out of range.
        """
        if seed < 0:
            raise ValueError(f"seed: expected 0 or more, not {seed}.")
        if not 0 < sample_fraction <= 1:
            raise ValueError(f"sample_fraction: expected more than 0 and at most 1, not {sample_fraction}.")
        super().__init__(
            CorruptedExampleGenSpec(
                **{
                    EXAMPLES_KEY: examples,
                    SPLIT_KEY: split,
                    SEED_KEY: seed,
                    SAMPLE_FRACTION_KEY: sample_fraction,
                    CORRUPTED_EXAMPLES_KEY: Channel(type=Examples),
                }
            )
        )
