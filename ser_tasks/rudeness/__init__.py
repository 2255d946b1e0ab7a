"""The trait vector, its evidence, and prosody."""
