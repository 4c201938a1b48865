"""Tables that people open in a spreadsheet, where text may not turn into a formula."""

from __future__ import annotations

import re

import pandas as pd

_FORMULA = re.compile(r"[=+\-@\t\r]")


def people_csv(frame: pd.DataFrame, header: bool = True) -> str:
    """A table as CSV that people open in a spreadsheet: no text in it runs as a formula.

    Text that would gets a quote before it, unless it is a plain number.

    >>> people_csv(pd.DataFrame({"a": ["=1+1", "-5.0", "x"]})).split()
    ['a', "'=1+1", '-5.0', 'x']
    """
    safe = frame.copy()
    safe.columns = safe.columns.map(_no_formula)
    for place, dtype in enumerate(safe.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            safe.isetitem(place, safe.iloc[:, place].map(_no_formula))
    return safe.to_csv(index=False, header=header)


def unguarded(text: str) -> str:
    """Text from a CSV for people, without the quote that :func:`people_csv` may have put there.

    >>> unguarded("'=1"), unguarded("'x"), unguarded("=1")
    ('=1', "'x", '=1')
    """
    return text[1:] if text[:1] == "'" and _FORMULA.match(text[1:]) else text


def _no_formula(value: object) -> object:
    if not isinstance(value, str) or not _FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
