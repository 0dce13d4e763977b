"""`digits`: one module per group of commands."""
