"""Settings of the model's gates."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.settings.section import Section

Share = Annotated[float, Field(ge=0, le=1)]


class EvaluationSettings(Section):
    """Bounds on the test split.

    The whole 95 % confidence interval must meet a bound. Its lower end is 0.16 points below an accuracy of 99.5 % on
    10,000 images, and 0.65 points below it on the 1,000 images of one class.
    """

    enforced: bool = Field(True, description="Whether a refusal counts; `false` switches the gate off.")
    min_accuracy: Share = Field(0.99, description="Minimum accuracy on the test split.")
    min_class_accuracy: Share = Field(0.97, description="Minimum recall and precision of each class.")
    max_log_loss: float = Field(0.05, ge=0, description="Maximum log loss, in nats.")
    max_calibration_error: Share = Field(0.01, description="Maximum expected calibration error.")
    max_accuracy_drop: Share = Field(0.003, description="Maximum drop of accuracy from the baseline.")
    max_class_drop: Share = Field(0.02, description="Maximum drop of a class's recall or precision from the baseline.")
    max_log_loss_rise: float = Field(0.01, ge=0, description="Maximum rise of log loss from the baseline.")
    max_calibration_error_rise: Share = Field(0.005, description="Maximum rise of this error from the baseline.")
    max_new_data_drop: Share = Field(
        0.1, description="Maximum drop of the baseline's accuracy from that on its own data; 1 switches it off."
    )
    max_new_data_class_drop: Share = Field(
        0.25, description="Maximum drop of the baseline's recall of a class from that on its own data."
    )
    accept_new_data: bool = Field(
        False, description="Whether a person has accepted data that contradicts the baseline; not for settings files."
    )


class RobustnessSettings(Section):
    """Bounds on corrupted copies of the test split."""

    enforced: bool = Field(True, description="Whether a refusal counts; `false` switches the gate off.")
    sample_fraction: float = Field(0.1, gt=0, le=1, description="Share of test to apply each corruption to.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the corruptions.")
    min_mean_accuracy: Share = Field(0.95, description="Minimum mean accuracy over the corruptions.")
    min_accuracy: Share = Field(0.85, description="Minimum accuracy on each corruption.")
    max_mean_drop: Share = Field(0.02, description="Maximum drop of the mean accuracy from the baseline.")
    max_drop: Share = Field(0.06, description="Maximum drop of the accuracy on each corruption from the baseline.")


class InfraValidatorSettings(Section):
    """TFX's own InfraValidator, which serves the model with TF Serving if there is an engine for it."""

    engine: Literal["none", "docker", "kubernetes"] = Field("none", description="Engine that starts TF Serving.")
    tf_serving_tag: str = Field("2.20.0", min_length=1, description="Tag of the image tensorflow/serving.")
