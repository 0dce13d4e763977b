"""ServingCheck: proves that an export serves before it is pushed."""
