"""Manifest, validation, splits and their audit, ratings: everything about data that is not audio."""
