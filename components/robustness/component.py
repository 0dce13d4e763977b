"""CorruptedExampleGen: the component that writes corrupted copies of the test split, to gate on robustness."""

from typing import ClassVar

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import Examples

from components.robustness.executor import (
    CORRUPTED_EXAMPLES_KEY,
    EXAMPLES_KEY,
    SAMPLE_FRACTION_KEY,
    SEED_KEY,
    Executor,
)


class CorruptedExampleGenSpec(ComponentSpec):
    """Contract of CorruptedExampleGen."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        SEED_KEY: ExecutionParameter(type=int),
        SAMPLE_FRACTION_KEY: ExecutionParameter(type=float),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {EXAMPLES_KEY: ChannelParameter(type=Examples)}
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {CORRUPTED_EXAMPLES_KEY: ChannelParameter(type=Examples)}


class CorruptedExampleGen(BaseBeamComponent):
    """Writes copies of the examples of the test split, corrupted in each of the 15 ways of MNIST-C.

    Transform is the only component of TFX that turns examples into examples, and its work becomes part of the model.

    The output, `corrupted_examples`, has one split, `test`: gzipped TFRecords of `image` int64[784], `label` int64[1]
    and `corruption`, the name of the corruption; one file for each input file and corruption. They depend only on the
    examples and the seed.
    """

    SPEC_CLASS = CorruptedExampleGenSpec
    EXECUTOR_SPEC = BeamExecutorSpec(Executor)

    def __init__(self, examples: BaseChannel, *, seed: int, sample_fraction: float) -> None:
        """Defines the step.

        Args:
            examples: Raw tf.Examples from MnistExampleGen.
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
                    SEED_KEY: seed,
                    SAMPLE_FRACTION_KEY: sample_fraction,
                    CORRUPTED_EXAMPLES_KEY: Channel(type=Examples),
                }
            )
        )
