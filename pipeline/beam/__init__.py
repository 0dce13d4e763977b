"""Where the data steps run: Beam's engines and their workers."""
