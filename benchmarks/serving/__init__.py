"""What `digits serve` does under load: throughput, swaps of versions, first requests and memory."""
