"""An Evaluator whose gate knows how certain each metric is, and says why it decided as it did."""
