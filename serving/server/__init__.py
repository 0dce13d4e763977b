"""A development server that speaks TF Serving's REST and gRPC APIs."""
