"""Prefect tasks, one file a stage: a call into ``siamese`` plus caching, retries and tracking."""
