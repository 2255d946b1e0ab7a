"""Decode, resample, pack, log-mel, augment: from bytes in a file to samples that a model takes."""
