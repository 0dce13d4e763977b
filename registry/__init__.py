"""The model registry on a file system: signatures, versions, provenance, publishing, labels."""
