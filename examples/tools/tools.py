"""Tools that are plain functions: their schema comes from their type hints, their words from their docstrings."""

from datetime import date


def days_between(start: str, end: str) -> int:
    """Count the days from one date to another.

    Args:
        start: The first date, as 2026-01-31.
        end: The second date, in the same form.
    """
    return (date.fromisoformat(end) - date.fromisoformat(start)).days
