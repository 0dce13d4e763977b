"""Corrupted copies of a split, on which the robustness of a model is evaluated."""
