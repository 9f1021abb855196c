"""Argument types that the commands share."""

import os
from argparse import ArgumentTypeError

from .reading import Folder, shown


def folder(text: str) -> Folder:
    """Return the folder by its real path: a file has one path however its folder is named."""
    if not os.path.isdir(text):
        raise ArgumentTypeError(f"{shown(text)} is not a folder")
    return Folder(os.path.realpath(text))


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seconds(text: str) -> float:
    """Return a number of seconds that one can wait."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86_400:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to a day")
    return value
