"""Timings against readable naive code and against a floor: `python -m tests.benchmarks.<name>`."""
