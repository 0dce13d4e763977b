"""GatedEvaluator: TFX's Evaluator with a gate that knows confidence intervals, and a verdict."""

import json
from collections.abc import Iterable, Mapping
from typing import ClassVar

import tfx.components  # noqa: F401 (first: it installs what the older TFDV of the Python 3.11 set needs)

# isort: split
import tensorflow_model_analysis as tfma
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing, ModelEvaluation, Schema
from tfx.types.standard_component_specs import (
    BASELINE_MODEL_KEY,
    BLESSING_KEY,
    EVAL_CONFIG_KEY,
    EVALUATION_KEY,
    EXAMPLE_SPLITS_KEY,
    EXAMPLES_KEY,
    MODEL_KEY,
    SCHEMA_KEY,
)
from tfx.types.system_executions import Evaluate

from components.evaluator.executor import ADVICE_KEY, BOUNDS_KEY, GATE_KEY, Executor
from components.evaluator.judgement import Bound
from components.verdict_artifact import VERDICT_KEY, VerdictArtifact


class GatedEvaluatorSpec(ComponentSpec):
    """Contract of GatedEvaluator: that of TFX's Evaluator with bounds and a verdict."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        EVAL_CONFIG_KEY: ExecutionParameter(type=tfma.EvalConfig),
        EXAMPLE_SPLITS_KEY: ExecutionParameter(type=str),
        GATE_KEY: ExecutionParameter(type=str),
        BOUNDS_KEY: ExecutionParameter(type=str),
        ADVICE_KEY: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        EXAMPLES_KEY: ChannelParameter(type=Examples),
        MODEL_KEY: ChannelParameter(type=Model),
        BASELINE_MODEL_KEY: ChannelParameter(type=Model, optional=True),
        SCHEMA_KEY: ChannelParameter(type=Schema, optional=True),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        EVALUATION_KEY: ChannelParameter(type=ModelEvaluation),
        BLESSING_KEY: ChannelParameter(type=ModelBlessing),
        VERDICT_KEY: ChannelParameter(type=VerdictArtifact),
    }
    TYPE_ANNOTATION = Evaluate


class GatedEvaluator(BaseBeamComponent):
    """Measures a model with TFMA and decides whether it may be pushed.

    TFX's own Evaluator compares bare values: it knows intervals, but its thresholds do not look at them, and it does
    not say why it refused.
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
        schema: Channel | None = None,
    ) -> None:
        """Defines the step.

        Args:
            name: Name of the gate and of the step.
            examples: Raw examples to evaluate on.
            example_splits: Their splits.
            model: The candidate.
            baseline_model: The model in production; an empty artifact where there is none.
            eval_config: Metrics and slices, without thresholds.
            bounds: The requirements of the gate, by name.
            advice: What a person should do whose model is refused.
            schema: Schema of the examples; without one, all their features are read.
        """
        spec = GatedEvaluatorSpec(
            **{
                EXAMPLES_KEY: examples,
                MODEL_KEY: model,
                BASELINE_MODEL_KEY: baseline_model,
                SCHEMA_KEY: schema,
                EVAL_CONFIG_KEY: eval_config,
                EXAMPLE_SPLITS_KEY: json.dumps(list(example_splits)),
                GATE_KEY: name,
                BOUNDS_KEY: json.dumps({name: bound.model_dump(exclude_none=True) for name, bound in bounds.items()}),
                ADVICE_KEY: advice,
                EVALUATION_KEY: Channel(type=ModelEvaluation),
                BLESSING_KEY: Channel(type=ModelBlessing),
                VERDICT_KEY: Channel(type=VerdictArtifact),
            }
        )
        super().__init__(spec)
        self.with_id(name)
