"""The pipeline: its steps and how they are joined, once for all runners."""

import hashlib
from collections.abc import Sequence

# TFX comes first: it installs what the older TFDV of the Python 3.11 set needs.
from tfx.components import (
    Evaluator,
    ExampleValidator,
    Pusher,
    StatisticsGen,
    Trainer,
    Transform,
)
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2
from tfx.types import Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

from components.baseline_model import LatestBlessedOtherModelStrategy
from components.example_gen.component import MnistExampleGen
from components.example_gen.data_version import DataVersion
from components.example_gen.executor import CODE_FINGERPRINT_KEY
from components.features import EVAL_SPLIT, TEST_SPLIT, TRAIN_SPLIT
from components.trainer.hyperparameters import HYPERPARAMETERS_KEY
from pipeline.code_fingerprint import code_fingerprint
from pipeline.evaluation import eval_config
from pipeline.settings import Settings


def create_pipeline(settings: Settings, data: DataVersion, beam_pipeline_args: Sequence[str]) -> Pipeline:
    """Joins the steps.

    Args:
        settings: All settings of the run.
        data: The version of the data to run on.
        beam_pipeline_args: Options of the Beam engine.

    Returns:
        The pipeline, without a metadata connection: the runner knows where metadata is kept.
    """
    example_gen = MnistExampleGen(
        data,
        code_fingerprint("components.example_gen.executor"),
        eval_fraction=settings.data.eval_fraction,
        test_fraction=settings.data.test_fraction,
        sample_fraction=settings.data.sample_fraction,
        seed=settings.data.seed,
        num_shards=settings.data.num_shards,
    )
    schema_gen = ImportSchemaGen(schema_file=str(settings.data.schema_file))
    # The cache would only see the file's name.
    schema_gen.exec_properties["schema_fingerprint"] = hashlib.sha256(
        settings.data.schema_file.read_bytes()
    ).hexdigest()
    statistics_gen = StatisticsGen(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
    )
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
    )
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="components.preprocessing.preprocessing_fn",
        # StatisticsGen has those of the raw examples; nobody reads those of the standardized ones.
        disable_statistics=True,
        custom_config={CODE_FINGERPRINT_KEY: code_fingerprint("components.preprocessing")},
    )
    trainer = Trainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        run_fn="components.trainer.training.run_fn",
        train_args=trainer_pb2.TrainArgs(splits=[TRAIN_SPLIT]),
        eval_args=trainer_pb2.EvalArgs(splits=[EVAL_SPLIT]),
        custom_config={
            HYPERPARAMETERS_KEY: settings.trainer.model_dump(),
            CODE_FINGERPRINT_KEY: code_fingerprint("components.trainer.training"),
        },
    )
    baseline_model = Resolver(
        strategy_class=LatestBlessedOtherModelStrategy,
        candidate=trainer.outputs["model"],
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
    ).with_id("BaselineModel")
    evaluator = Evaluator(
        examples=example_gen.outputs["examples"],
        example_splits=[TEST_SPLIT],
        model=trainer.outputs["model"],
        baseline_model=baseline_model.outputs["model"],
        eval_config=eval_config(settings.evaluation),
        schema=schema_gen.outputs["schema"],
    )
    pusher = Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(settings.serving_directory))
        ),
    )
    return Pipeline(
        pipeline_name=settings.name,
        pipeline_root=str(settings.pipeline_root),
        components=[
            example_gen,
            schema_gen,
            statistics_gen,
            example_validator,
            transform,
            trainer,
            baseline_model,
            evaluator,
            pusher,
        ],
        enable_cache=settings.enable_cache,
        beam_pipeline_args=list(beam_pipeline_args),
    )
