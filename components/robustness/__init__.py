"""How a model copes with images that are worse than those it learnt from: corrupted copies of a split.

The corruptions are those of MNIST-C (Mu and Gilmer 2019, arXiv:1906.02337). Their parameters are those of the code that
the authors published (google-research/mnist-c, `corruptions.py`); the code here is our own, for whole batches at once.
"""
