"""DataGate: whether the data may be learnt from, compared with its contract, among its splits and with earlier data."""
