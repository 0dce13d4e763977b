import numpy as np
import pytest
from scipy.special import softmax

from components.trainer.calibration import fit_temperature


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_made_up_logits_is_found(temperature: float) -> None:
    random = np.random.default_rng(0)
    true_logits = random.normal(0, 3, (20_000, 10))
    labels = np.array([random.choice(10, p=p) for p in softmax(true_logits, axis=-1)])
    assert fit_temperature(true_logits * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_training_that_diverged_is_reported() -> None:
    logits = np.zeros((5, 10))
    logits[2, 3] = np.nan
    with pytest.raises(ValueError, match="got 5 images of which 1 have logits that are not finite.*learning_rate"):
        fit_temperature(logits, np.zeros(5, int))
    with pytest.raises(ValueError, match="got 0 images"):
        fit_temperature(np.zeros((0, 10)), np.zeros(0, int))
