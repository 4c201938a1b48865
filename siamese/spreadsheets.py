"""Tables that people open in a spreadsheet, where text may not turn into a formula."""

from __future__ import annotations

import csv
import re

import pandas as pd

# At the start of a cell; where lists are separated by semicolons, also behind one of these.
_FORMULA = re.compile(r"(^|;)(?=[=+\-@\t\r])")
_GUARDED = re.compile(r"(^|;)'(?=[=+\-@\t\r])")


def people_csv(frame: pd.DataFrame, header: bool = True) -> str:
    """A table as CSV that people open in a spreadsheet: no text in it runs as a formula.

    Text that would gets a quote before it, unless it is a plain number. All text is in double
    quotes: Python before 3.11.9 leaves out those that a carriage return needs.

    >>> print(people_csv(pd.DataFrame({"a": ["=1+1", "-5.0", "x;=2"]})).rstrip())
    "a"
    "'=1+1"
    "-5.0"
    "x;'=2"
    """
    safe = frame.copy()
    safe.columns = safe.columns.map(_no_formula)
    for place, dtype in enumerate(safe.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            safe.isetitem(place, safe.iloc[:, place].map(_no_formula))
    return safe.to_csv(index=False, header=header, quoting=csv.QUOTE_NONNUMERIC)


def unguarded(text: str) -> str:
    """Text from a CSV for people, without the quote that :func:`people_csv` may have put there.

    >>> unguarded("'=1"), unguarded("'x"), unguarded("=1")
    ('=1', "'x", '=1')
    """
    return _GUARDED.sub(r"\1", text)


def _no_formula(value: object) -> object:
    if not isinstance(value, str) or not _FORMULA.search(value):
        return value
    try:
        float(value)
    except ValueError:
        return _FORMULA.sub(r"\1'", value)
    return value
