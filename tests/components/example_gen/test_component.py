import pytest
from tfx.types import Channel
from tfx.types.standard_artifacts import Examples, Schema

from components.example_gen.component import MnistExampleGen
from components.example_gen.executor import Executor
from components.example_gen.sources.detection import DataVersion


@pytest.fixture
def example_gen() -> MnistExampleGen:
    return MnistExampleGen(
        DataVersion(uri="data/span-7/mnist.npz", span=7, fingerprint="of-the-data"),
        schema=Channel(type=Schema),
        eval_fraction=0.25,
        test_fraction=0.2,
        max_images=500,
        seed=11,
        num_shards=3,
        preparation="ink",
    )


def test_exec_properties_are_all_that_the_cache_may_depend_on(example_gen: MnistExampleGen) -> None:
    assert example_gen.exec_properties == {
        "uri": "data/span-7/mnist.npz",
        "span": 7,
        "fingerprint": "of-the-data",
        "eval_fraction": 0.25,
        "test_fraction": 0.2,
        "max_images": 500,
        "seed": 11,
        "num_shards": 3,
        "preparation": "ink",
    }


def test_it_turns_a_schema_into_examples(example_gen: MnistExampleGen) -> None:
    assert {key: channel.type for key, channel in example_gen.outputs.items()} == {"examples": Examples}
    assert {key: channel.type for key, channel in example_gen.inputs.items()} == {"schema": Schema}
    assert example_gen.executor_spec.executor_class is Executor
