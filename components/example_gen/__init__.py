"""MnistExampleGen, the component that ingests labeled images in any supported format."""
