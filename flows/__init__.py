"""Prefect flows: each is the sentence that says what it does."""
