"""Runs one step of the pipeline in a pod, under KFP's launcher."""
