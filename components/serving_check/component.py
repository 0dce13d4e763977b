"""ServingCheck: the component that lets no export pass which TF Serving could not serve."""

from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import Examples, InfraBlessing, Model

from components.serving_check.executor import (
    BLESSING_KEY,
    EXAMPLES_KEY,
    LIMITS_KEY,
    MODEL_KEY,
    MODEL_NAME_KEY,
    SPLIT_KEY,
    Executor,
)
from components.serving_check.limits import ServingLimits
from components.verdict_artifact import VERDICT_KEY, VerdictArtifact


class ServingCheckSpec(ComponentSpec):
    """Contract of ServingCheck."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        SPLIT_KEY: ExecutionParameter(type=str),
        LIMITS_KEY: ExecutionParameter(type=str),
        MODEL_NAME_KEY: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        MODEL_KEY: ChannelParameter(type=Model),
        EXAMPLES_KEY: ChannelParameter(type=Examples),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        BLESSING_KEY: ChannelParameter(type=InfraBlessing),
        VERDICT_KEY: ChannelParameter(type=VerdictArtifact),
    }


class ServingCheck(BaseComponent):
    """Loads the export in a fresh process with the loader that TF Serving uses, and asks every signature.

    TFX's own InfraValidator needs Docker or Kubernetes, looks at whether answers come but not at what they are, and
    sends no request that it expects to be refused.

    Its outputs are `blessing`, an `InfraBlessing` that TFX's Pusher honours and that holds the model with its warm-up
    requests where it passed, and `verdict`. A refused export is no failure of the step.
    """

    SPEC_CLASS = ServingCheckSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: BaseChannel,
        examples: BaseChannel,
        *,
        split: str,
        limits: ServingLimits,
        model_name: str,
    ) -> None:
        """Defines the step.

        Args:
            model: Channel of the export, a `Model`.
            examples: Channel of raw `Examples`.
            split: The split whose images are sent.
            limits: What is asked, and what the answers must keep.
            model_name: Name under which the model is served; the warm-up requests hold it.
        """
        super().__init__(
            ServingCheckSpec(
                **{
                    MODEL_KEY: model,
                    EXAMPLES_KEY: examples,
                    SPLIT_KEY: split,
                    LIMITS_KEY: limits.model_dump_json(),
                    MODEL_NAME_KEY: model_name,
                    BLESSING_KEY: Channel(type=InfraBlessing),
                    VERDICT_KEY: Channel(type=VerdictArtifact),
                }
            )
        )
