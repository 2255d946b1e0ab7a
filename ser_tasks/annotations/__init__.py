"""Annotations: from files that people drop to a version of the ratings that a study uses."""
