"""The two kinds of foreseen failure; each message is a sentence for the person at the keyboard."""

from __future__ import annotations


class InputError(ValueError):
    """What was given cannot be used: a setting, a source, a claims folder, a table."""


class RunError(RuntimeError):
    """What was given is fine, but this cannot be done, or not here, or not now."""
