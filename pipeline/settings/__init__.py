"""Every setting of the pipeline, typed and validated."""
