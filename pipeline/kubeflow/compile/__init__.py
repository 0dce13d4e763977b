"""Compiles the pipeline for Kubeflow Pipelines or Vertex AI."""
