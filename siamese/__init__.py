"""Offline handwritten-signature verification: the library, free of Prefect and MLflow."""

__version__ = "0.1.0"
