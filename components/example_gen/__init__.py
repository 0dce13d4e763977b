"""MnistExampleGen: from images in any supported layout to the splits of the pipeline."""
