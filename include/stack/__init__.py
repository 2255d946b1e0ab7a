"""The embedded stack: SeaweedFS, MLflow and Airflow on loopback, under one supervisor, without root or Docker.

Nothing is imported here: `make setup` runs this package with a bare Python, before anything is installed.
"""
