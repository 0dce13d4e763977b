"""GatedEvaluator: an Evaluator with a gate that uses confidence intervals, and a verdict."""

import json
from collections.abc import Iterable, Mapping
from typing import ClassVar

import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)

# isort: split
import tensorflow_model_analysis as tfma
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import Channel
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from tfx.types.standard_artifacts import ModelBlessing, ModelEvaluation
from tfx.types.standard_component_specs import EvaluatorSpec

from components.evaluator.bounds import Bound
from components.evaluator.executor import ADVICE_KEY, BOUNDS_KEY, ENFORCED_KEY, GATE_KEY, Executor
from components.verdict_artifact import VERDICT_KEY, VerdictArtifact


class GatedEvaluatorSpec(EvaluatorSpec):
    """Contract of GatedEvaluator: that of TFX's Evaluator with bounds and a verdict."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        **EvaluatorSpec.PARAMETERS,
        **{key: ExecutionParameter(type=str) for key in (GATE_KEY, BOUNDS_KEY, ADVICE_KEY)},
        ENFORCED_KEY: ExecutionParameter(type=int),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        **EvaluatorSpec.OUTPUTS,
        VERDICT_KEY: ChannelParameter(type=VerdictArtifact),
    }


class GatedEvaluator(BaseBeamComponent):
    """Measures a model with TFMA and decides whether it may be pushed.

    The thresholds of TFX's own Evaluator ignore confidence intervals, and it does not explain a refusal.
    """

    SPEC_CLASS = GatedEvaluatorSpec
    EXECUTOR_SPEC = BeamExecutorSpec(Executor)

    def __init__(
        self,
        name: str,
        *,
        examples: Channel,
        example_splits: Iterable[str],
        model: Channel,
        baseline_model: Channel,
        eval_config: tfma.EvalConfig,
        bounds: Mapping[str, Bound],
        advice: str,
        enforced: bool = True,
    ) -> None:
        """Defines the step.

        Args:
            name: Name of the gate and of the step.
            examples: Raw examples to evaluate on.
            example_splits: Splits to evaluate on.
            model: The candidate.
            baseline_model: The model in production; an empty artifact if there is none.
            eval_config: Metrics and slices, without thresholds.
            bounds: The requirements, by name.
            advice: What to do after a refusal.
            enforced: Whether a refusal counts; if not, the gate is switched off.
        """
        spec = GatedEvaluatorSpec(
            examples=examples,
            model=model,
            baseline_model=baseline_model,
            eval_config=eval_config,
            example_splits=json.dumps(list(example_splits)),
            evaluation=Channel(type=ModelEvaluation),
            blessing=Channel(type=ModelBlessing),
            **{
                GATE_KEY: name,
                BOUNDS_KEY: json.dumps({key: bound.model_dump(exclude_none=True) for key, bound in bounds.items()}),
                ADVICE_KEY: advice,
                ENFORCED_KEY: int(enforced),
                VERDICT_KEY: Channel(type=VerdictArtifact),
            },
        )
        super().__init__(spec)
        self.with_id(name)
