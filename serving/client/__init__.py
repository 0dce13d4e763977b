"""Sends requests to a pushed model: over REST, over gRPC, or loaded into this process."""
