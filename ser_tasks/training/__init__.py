"""One readable loop for every model, batches by length, checkpoints."""
