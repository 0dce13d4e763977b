"""The steps of the pipeline that have code of ours."""
