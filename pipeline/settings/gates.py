"""The settings of the gates: what data, model and export must keep to be let through."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings.section import Section

Share = Annotated[float, Field(ge=0, le=1)]


class EvaluationSettings(Section):
    """What a model must reach on the test split.

    A bound must be kept by the worse end of the 95 % interval. Of 10,000 images with an accuracy of 99.5 % that is 0.16
    points lower than the value; of 1,000 images of one digit 0.65.
    """

    min_accuracy: Share = Field(0.99, description="Lowest accuracy on the whole test split.")
    min_digit_accuracy: Share = Field(0.97, description="Lowest recall, and lowest precision, of any digit.")
    max_log_loss: float = Field(0.05, ge=0, description="Highest log loss, in nats.")
    max_calibration_error: Share = Field(0.01, description="Highest expected calibration error.")
    max_accuracy_drop: Share = Field(0.003, description="How far accuracy may be below the baseline's.")
    max_digit_drop: Share = Field(
        0.02, description="How far recall and precision of any digit may be below the baseline's."
    )
    max_log_loss_rise: float = Field(0.01, ge=0, description="How far log loss may be above the baseline's.")
    max_calibration_error_rise: Share = Field(
        0.005, description="How far the calibration error may be above the baseline's."
    )


class RobustnessSettings(Section):
    """What a model must reach on corrupted copies of the test split."""

    sample_fraction: float = Field(0.1, gt=0, le=1, description="Share of test that each corruption is applied to.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the corruptions.")
    min_mean_accuracy: Share = Field(0.95, description="Lowest mean accuracy over the corruptions.")
    min_accuracy: Share = Field(0.85, description="Lowest accuracy on any one corruption.")
    max_mean_drop: Share = Field(0.02, description="How far the mean over the corruptions may be below the baseline's.")
    max_drop: Share = Field(0.06, description="How far accuracy on any one corruption may be below the baseline's.")


class InfraValidatorSettings(Section):
    """TFX's own InfraValidator, which serves the model with TF Serving itself where there is an engine for it."""

    engine: Literal["none", "docker", "kubernetes"] = Field("none", description="Where TF Serving can be started.")
    tf_serving_tag: str = Field("2.20.0", min_length=1, description="Tag of the image tensorflow/serving.")
