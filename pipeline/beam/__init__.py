"""Runs the data steps: Beam's engines and their workers."""
