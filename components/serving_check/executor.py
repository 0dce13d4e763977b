"""The work of ServingCheck: checks the export, writes the verdict, and blesses or not."""

from pathlib import Path
from typing import Any

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import Artifact, artifact_utils
from tfx.utils import path_utils

from components.raw_examples import find_files, read_images
from components.serving_check.blessing import bless, refuse_blessing
from components.serving_check.check import check_export
from components.serving_check.limits import ServingLimits
from components.serving_check.warm_up import warm_up_requests
from components.verdict import Verdict
from components.verdict_artifact import VERDICT_KEY, publish_verdict

GATE = "ServingCheck"
MODEL_KEY = "model"
EXAMPLES_KEY = "examples"
BLESSING_KEY = "blessing"
SPLIT_KEY = "split"
LIMITS_KEY = "limits"
MODEL_NAME_KEY = "model_name"

LOG_FILE = "fresh_process.log"
"""What the fresh process printed, beside the verdict."""

_ADVICE = (
    "Mend what components/trainer/signatures.py exports; where a bound is wrong, set it in section `serving_check`."
)


class Executor(BaseExecutor):
    """Executor of ServingCheck."""

    def Do(  # noqa: N802 (the name is TFX's)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Checks the export; TFX calls this.

        A refused export is no failure: the verdict and the blessing say so.

        Args:
            input_dict: `model`, the export; `examples`, raw tf.Examples.
            output_dict: `blessing` and `verdict`, the artifacts to fill.
            exec_properties: What the component was given.

        Raises:
            ValueError: There are no examples to ask the export about.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict[MODEL_KEY])
        examples = artifact_utils.get_single_instance(input_dict[EXAMPLES_KEY])
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING_KEY])
        verdict_artifact = artifact_utils.get_single_instance(output_dict[VERDICT_KEY])
        limits = ServingLimits.model_validate_json(exec_properties[LIMITS_KEY])
        model_path = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
        images, _ = read_images(find_files(examples, exec_properties[SPLIT_KEY]), limits.num_requests)
        if not len(images):
            raise ValueError(
                f"{examples.uri}: split {exec_properties[SPLIT_KEY]!r} has no examples, expected at least one to send "
                "to the export."
            )

        findings = check_export(model_path, images, limits, Path(verdict_artifact.uri, LOG_FILE))
        verdict = Verdict(GATE, tuple(findings), _ADVICE)
        publish_verdict(verdict, verdict_artifact)
        if verdict.passed:
            bless(blessing, model_path, warm_up_requests(images, exec_properties[MODEL_NAME_KEY]))
        else:
            refuse_blessing(blessing)
