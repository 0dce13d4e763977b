"""An Evaluator with a gate that accounts for the uncertainty of each metric and explains its decision."""
