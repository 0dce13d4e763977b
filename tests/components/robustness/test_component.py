import pytest
from tfx.types import Channel
from tfx.types.standard_artifacts import Examples

from components.robustness.component import CorruptedExampleGen
from components.robustness.executor import Executor


def make(seed: int = 11, sample_fraction: float = 0.5) -> CorruptedExampleGen:
    return CorruptedExampleGen(Channel(type=Examples), seed=seed, sample_fraction=sample_fraction)


def test_exec_properties_are_all_that_the_cache_may_depend_on() -> None:
    assert make().exec_properties == {
        "seed": 11,
        "sample_fraction": 0.5,
    }


def test_it_makes_examples_out_of_examples() -> None:
    component = make()
    assert {key: channel.type for key, channel in component.inputs.items()} == {"examples": Examples}
    assert {key: channel.type for key, channel in component.outputs.items()} == {"corrupted_examples": Examples}
    assert component.executor_spec.executor_class is Executor


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=rf"sample_fraction: expected more than 0 and at most 1, not {fraction}"):
        make(sample_fraction=fraction)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed: expected 0 or more, not -1"):
        make(seed=-1)
