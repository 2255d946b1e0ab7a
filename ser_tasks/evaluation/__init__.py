"""Metrics with intervals, and comparisons, from stored predictions."""
