"""The baseline: which model a new one has to measure up to."""

from collections.abc import Mapping

import ml_metadata as mlmd
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
from tfx.dsl.io import fileio
from tfx.types import Artifact

CANDIDATE_KEY = "candidate"
MODEL_KEY = "model"
MODEL_BLESSING_KEY = "model_blessing"


class LatestBlessedOtherModelStrategy(LatestBlessedModelStrategy):
    """Resolves the latest blessed model other than the candidate itself.

    TFX's own strategy finds the candidate once it is blessed. A repeated run would then compare the model with
    itself, which makes the Evaluator's inputs new: nothing after it could ever be answered from the cache.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: Mapping[str, list[Artifact]]
    ) -> dict[str, list[Artifact]] | None:
        """Chooses the baseline; TFX calls this.

        Args:
            store: The metadata store.
            input_dict: All models under `model`, all blessings under `model_blessing`, and the model of this run under
                `candidate`.

        Returns:
            The baseline and its blessing, or empty lists where there is none; the candidate as it was.
        """
        candidate_ids = {artifact.id for artifact in input_dict[CANDIDATE_KEY]}
        # Nothing can be compared with a model whose files somebody has deleted.
        others = [
            model for model in input_dict[MODEL_KEY] if model.id not in candidate_ids and fileio.exists(model.uri)
        ]
        resolved = super().resolve_artifacts(
            store, {MODEL_KEY: others, MODEL_BLESSING_KEY: input_dict[MODEL_BLESSING_KEY]}
        )
        return {**resolved, CANDIDATE_KEY: input_dict[CANDIDATE_KEY]}
