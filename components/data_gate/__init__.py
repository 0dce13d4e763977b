"""DataGate: whether data may be used for training, by its schema, its splits and earlier data."""
