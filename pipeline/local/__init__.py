"""Runs the pipeline on this machine and shows what happens."""
