"""Predict one clip, a packed corpus, and what the MLflow model packs."""
