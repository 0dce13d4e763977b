"""The report of a run: what the data was, what was learned, where the model errs, and why it was pushed or not."""
