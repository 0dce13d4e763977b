"""The graph of the pipeline, defined once for all runners."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

# TFX comes first: it installs what the older TFDV of the Python 3.11 set needs.
from tfx.components import ExampleValidator, InfraValidator, Trainer
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.experimental.conditionals.conditional import Cond
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import infra_validator_pb2, trainer_pb2
from tfx.types import BaseChannel

# isort: split
from tensorflow_data_validation import StatsOptions

from components.baseline_model import BaselineModel
from components.checked_steps import StatisticsGen, Transform
from components.data_gate.component import DataGate
from components.evaluator.component import GatedEvaluator
from components.example_gen.component import MnistExampleGen
from components.example_gen.sources.detection import DataVersion
from components.features import EVAL_SPLIT, TEST_SPLIT, TRAIN_SPLIT
from components.preprocessing import CONTRACT_KEY
from components.pusher import AtomicPusher
from components.robustness.component import CorruptedExampleGen
from components.run_report.component import RunReport
from components.run_report.report import REPORT_STEPS
from components.serving_check.component import ServingCheck
from components.trainer.hyperparameters import HYPERPARAMETERS_KEY, SEARCH_KEY, Search
from components.trainer.tuning import Tuner
from components.verdict_artifact import PASSED_PROPERTY, VERDICT_KEY
from pipeline import evaluation
from pipeline.code_fingerprint import code_fingerprints
from pipeline.settings.settings import (
    PROFILES,
    DataSettings,
    Settings,
    default_settings,
    load_contract,
    reported_settings,
)
from pipeline.settings.tuned import Trial
from registry.signatures import EXAMPLES
from registry.signing import TrustPolicy, read_public_key

CODE_FINGERPRINT_KEY = "code_fingerprint"
"""Execution property that makes the cache see the code of a step."""

_CODE: Mapping[str, str] = {
    "MnistExampleGen": "components.example_gen.executor",
    "StatisticsGen": "components.checked_steps",
    "DataGate": "components.data_gate.component",
    "Transform": "components.preprocessing",
    "Trainer": "components.trainer.training",
    "BaselineModel": "components.baseline_model",
    "Evaluator": "components.evaluator.executor",
    "CorruptedExampleGen": "components.robustness.component",
    "RobustnessEvaluator": "components.evaluator.executor",
    "ServingCheck": "components.serving_check.component",
    "Pusher": "components.pusher",
    **dict.fromkeys(REPORT_STEPS, "components.run_report.component"),
}
"""Module with the code of each step that is not TFX's own; with its imports it is part of the cache key."""

_MAX_UNKNOWN_LABELS = 100
"""Labels outside the schema that statistics count."""
_MAX_SKETCHED_LABELS = 1024
"""Size of TFDV's sketch of the values of a feature. If the data has more labels, their counts are estimates."""


_MODEL_SETTINGS: Mapping[str, Any] = {
    # The data artifact records where the data comes from.
    "data": set(DataSettings.model_fields) - {"uri", "span"},
    **dict.fromkeys(("trainer", "data_gate", "evaluation", "robustness", "serving_check"), True),
}
"""Settings that shape the model and its gates, for the provenance."""


def create_pipeline(
    settings: Settings,
    data: DataVersion,
    beam_pipeline_args: Sequence[str],
    search: Search | None = None,
    trials: Sequence[Trial] = (),
) -> Pipeline:
    """Creates the pipeline, without a metadata connection, which the runner adds.

    Args:
        settings: All settings.
        data: Version of the data.
        beam_pipeline_args: Options of Beam.
        search: A search for hyperparameters that follows the data steps, in place of training, gates and push. The name
            of the pipeline is the same, so that both find the data steps in the cache: it is part of TFX's cache key.
        trials: The trials behind the hyperparameters, for the report.
    """
    code = code_fingerprints(_CODE)
    sample_advice = _sample_advice(settings)
    contract = load_contract(settings)
    num_labels = len(contract.classes) + _MAX_UNKNOWN_LABELS
    schema_gen = ImportSchemaGen(schema_file=str(settings.data.schema_file))
    # Without it, the cache depends only on the name of the file.
    schema_gen.exec_properties["schema_fingerprint"] = hashlib.sha256(
        settings.data.schema_file.read_bytes()
    ).hexdigest()
    example_gen = MnistExampleGen(
        data,
        schema=schema_gen.outputs["schema"],
        eval_fraction=settings.data.eval_fraction,
        test_fraction=settings.data.test_fraction,
        max_images=settings.data.max_images or 0,
        seed=settings.data.seed,
        num_shards=settings.data.num_shards,
        preparation=settings.trainer.preparation,
    )
    statistics_gen = StatisticsGen(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        stats_options=StatsOptions(
            # DataGate counts every class.
            num_rank_histogram_buckets=num_labels,
            # Saves a pass over the data.
            use_sketch_based_topk_uniques=num_labels <= _MAX_SKETCHED_LABELS,
        ),
    )
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    data_gate = DataGate(
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        anomalies=example_validator.outputs["anomalies"],
        limits=settings.data_gate.model_dump_json(),
        advice="Inspect the data with `digits verify-data` and fix it. If the data is right, change the setting or, "
        f"if none is named, {settings.data.schema_file.name}.{sample_advice}",
        serving_directory=str(settings.serving_directory),
    )
    data_passed = data_gate.outputs[VERDICT_KEY].future()[0].custom_property(PASSED_PROPERTY)
    with Cond(data_passed == 1):
        transform = Transform(
            examples=example_gen.outputs["examples"],
            schema=schema_gen.outputs["schema"],
            preprocessing_fn="components.preprocessing.preprocessing_fn",
            custom_config={CONTRACT_KEY: asdict(contract)},
            # Trainer applies the graph itself, which takes less time than to write and read its results.
            materialize=False,
            disable_statistics=True,
            # Nothing reads it: it is for pipelines that add files to those of earlier runs.
            disable_analyzer_cache=True,
        )
    data_steps = [schema_gen, example_gen, statistics_gen, example_validator, data_gate, transform]
    training_inputs = {
        "examples": example_gen.outputs["examples"],
        "schema": schema_gen.outputs["schema"],
        "transform_graph": transform.outputs["transform_graph"],
        "train_args": trainer_pb2.TrainArgs(splits=[TRAIN_SPLIT]),
        "eval_args": trainer_pb2.EvalArgs(splits=[EVAL_SPLIT]),
    }
    if search is not None:
        code |= code_fingerprints({"Tuner": "components.trainer.tuning"})
        with Cond(data_passed == 1):
            tuner = Tuner(
                **training_inputs,
                tuner_fn="components.trainer.tuning.tuner_fn",
                custom_config={
                    HYPERPARAMETERS_KEY: settings.trainer.model_dump(),
                    SEARCH_KEY: search.model_copy(update={"code": code["Tuner"]}).model_dump(mode="json"),
                },
            )
        return _pipeline(settings, [*data_steps, tuner], code, beam_pipeline_args)
    all_settings = reported_settings(settings.model_dump(mode="json")), default_settings()
    data_inputs = {
        "schema": schema_gen.outputs["schema"],
        "examples": example_gen.outputs["examples"],
        "statistics": statistics_gen.outputs["statistics"],
        "anomalies": example_validator.outputs["anomalies"],
        "data_verdict": data_gate.outputs[VERDICT_KEY],
    }
    with Cond(data_passed == 0):
        data_report = RunReport(settings.name, *all_settings, **data_inputs).with_id("DataReport")
    with Cond(data_passed == 1):
        trainer = Trainer(
            **training_inputs,
            run_fn="components.trainer.training.run_fn",
            custom_config={HYPERPARAMETERS_KEY: settings.trainer.model_dump()},
        )
        baseline_model = BaselineModel(
            candidate=trainer.outputs["model"],
            examples=example_gen.outputs["examples"],
            serving_directory=str(settings.serving_directory),
            public_key=_public_key(settings.trust_policy),
            data_accepted=int(settings.evaluation.accept_new_data),
        )
        evaluator = GatedEvaluator(
            "Evaluator",
            examples=example_gen.outputs["examples"],
            example_splits=[TEST_SPLIT],
            model=trainer.outputs["model"],
            baseline_model=baseline_model.outputs["baseline_model"],
            eval_config=evaluation.eval_config(contract.classes),
            bounds=evaluation.bounds(settings.evaluation),
            advice=f"Train longer or on more data. If a bound is wrong, change its setting.{sample_advice}",
            enforced=settings.evaluation.enforced,
        )
        corrupted_example_gen = CorruptedExampleGen(
            examples=example_gen.outputs["examples"],
            seed=settings.robustness.seed,
            sample_fraction=settings.robustness.sample_fraction,
        )
        robustness_evaluator = GatedEvaluator(
            "RobustnessEvaluator",
            examples=corrupted_example_gen.outputs["corrupted_examples"],
            example_splits=[TEST_SPLIT],
            model=trainer.outputs["model"],
            baseline_model=baseline_model.outputs["baseline_model"],
            eval_config=evaluation.robustness_eval_config(contract.classes),
            bounds=evaluation.robustness_bounds(settings.robustness),
            advice="Strengthen the augmentation in section `trainer`. If there are too few images, raise "
            f"robustness.sample_fraction. If a bound is wrong, change its setting.{sample_advice}",
            enforced=settings.robustness.enforced,
        )
        serving_check = ServingCheck(
            model=trainer.outputs["model"],
            examples=example_gen.outputs["examples"],
            split=TEST_SPLIT,
            limits=settings.serving_check.model_dump_json(),
            evaluation_min_accuracy=settings.evaluation.min_accuracy if settings.evaluation.enforced else 0.0,
            model_name=settings.name,
            advice="Fix what components/trainer/signatures.py exports. If a limit is wrong, change its setting."
            f"{sample_advice}",
        )
        infra_validators = _infra_validators(settings, trainer.outputs["model"], example_gen.outputs["examples"])
        pusher = AtomicPusher(
            model=trainer.outputs["model"],
            model_blessing=evaluator.outputs["blessing"],
            infra_blessing=serving_check.outputs["blessing"],
            infra_validator_blessing=infra_validators[0].outputs["blessing"] if infra_validators else None,
            examples=example_gen.outputs["examples"],
            statistics=statistics_gen.outputs["statistics"],
            transform_graph=transform.outputs["transform_graph"],
            baseline_model=baseline_model.outputs["baseline_model"],
            verdicts={
                "data_verdict": data_gate.outputs[VERDICT_KEY],
                "evaluation_verdict": evaluator.outputs[VERDICT_KEY],
                "robustness_verdict": robustness_evaluator.outputs[VERDICT_KEY],
                "serving_verdict": serving_check.outputs[VERDICT_KEY],
            },
            serving_directory=settings.serving_directory,
            private_key=settings.private_key,
            code={step: fingerprint for step, fingerprint in code.items() if step not in REPORT_STEPS},
            run_settings=settings.model_dump(mode="json", include=_MODEL_SETTINGS),
        ).with_id("Pusher")
        run_report = RunReport(
            settings.name,
            *all_settings,
            trials,
            **data_inputs,
            transform_graph=transform.outputs["transform_graph"],
            model=trainer.outputs["model"],
            model_run=trainer.outputs["model_run"],
            baseline_model=baseline_model.outputs["baseline_model"],
            evaluation=evaluator.outputs["evaluation"],
            evaluation_verdict=evaluator.outputs[VERDICT_KEY],
            robustness_evaluation=robustness_evaluator.outputs["evaluation"],
            robustness_verdict=robustness_evaluator.outputs[VERDICT_KEY],
            serving_verdict=serving_check.outputs[VERDICT_KEY],
            pushed_model=pusher.outputs["pushed_model"],
        )
    steps = [
        *data_steps,
        trainer,
        baseline_model,
        evaluator,
        corrupted_example_gen,
        robustness_evaluator,
        serving_check,
        *infra_validators,
        pusher,
        run_report,
        data_report,
    ]
    return _pipeline(settings, steps, code, beam_pipeline_args)


def _pipeline(
    settings: Settings, steps: Sequence[BaseNode], code: Mapping[str, str], beam_pipeline_args: Sequence[str]
) -> Pipeline:
    for step in steps:
        if step.id in code:
            step.exec_properties[CODE_FINGERPRINT_KEY] = code[step.id]
    return Pipeline(
        pipeline_name=settings.name,
        pipeline_root=str(settings.pipeline_root),
        components=list(steps),
        enable_cache=settings.enable_cache,
        beam_pipeline_args=list(beam_pipeline_args),
    )


def _sample_advice(settings: Settings) -> str:
    """Returns a sentence on the setting that causes refusals for too few images; empty if it is not set."""
    max_images = settings.data.max_images
    if max_images is None:
        return ""
    is_default = max_images == PROFILES[settings.profile].get("data", {}).get("max_images")
    source = f" of profile {settings.profile}" if is_default else ""
    return f" data.max_images={max_images}{source} limits the data."


def _public_key(policy: TrustPolicy) -> str:
    if policy.public_key is None or policy.allow_unverified:
        return ""
    return read_public_key(policy.public_key).decode()


def _infra_validators(settings: Settings, model: BaseChannel, examples: BaseChannel) -> list[BaseNode]:
    """Returns TFX's own InfraValidator if an engine for it is set."""
    if settings.infra_validator.engine == "none":
        return []
    # An empty message selects the platform with its defaults.
    platform: dict[str, Any] = (
        {"local_docker": infra_validator_pb2.LocalDockerConfig()}
        if settings.infra_validator.engine == "docker"
        else {"kubernetes": infra_validator_pb2.KubernetesConfig()}
    )
    return [
        InfraValidator(
            model=model,
            examples=examples,
            serving_spec=infra_validator_pb2.ServingSpec(
                tensorflow_serving=infra_validator_pb2.TensorFlowServing(
                    tags=[settings.infra_validator.tf_serving_tag]
                ),
                **platform,
            ),
            request_spec=infra_validator_pb2.RequestSpec(
                tensorflow_serving=infra_validator_pb2.TensorFlowServingRequestSpec(signature_names=[EXAMPLES]),
                split_name=TEST_SPLIT,
                num_examples=settings.serving_check.num_requests,
            ),
        )
    ]
