"""What a pod runs: one step of the pipeline, under KFP's launcher."""
