"""Addresses of servers, which may have a password in them."""

from __future__ import annotations

import re

# A password may hold a slash, or an @; what is a port is none.
_WHO = re.compile(r"(?<=://)[^/@\s:]*:(?!\d{1,5}/)[^\s]*@")


def without_password(text: str) -> str:
    """An address, or a text with some in it, as it may be shown.

    >>> without_password("postgresql://me:sec/ret@db/mlflow"), without_password("http://db:5000/a@b")
    ('postgresql://***@db/mlflow', 'http://db:5000/a@b')
    """
    return _WHO.sub("***@", text)


def no_password(address: str) -> str:
    """The address itself.

    Raises
    ------
    ValueError : it has a password.
    """
    if _WHO.search(address):
        raise ValueError("settings are written down with every run, and may hold no password")
    return address
