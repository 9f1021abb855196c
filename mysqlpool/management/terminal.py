"""Where a command speaks: to a terminal in colours, if ``rich`` is there, or as plain text."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["encodable", "terminal"]


def terminal(command: BaseCommand, options: dict[str, Any]) -> Console | None:
    """A console of ``rich`` for the command's standard output; None where plain text is due.

    That is where it is no terminal, unless ``--force-color`` says to treat it as one; with
    ``--no-color``; with another ``stdout``, as ``call_command`` may be given; and without ``rich``,
    which is optional: ``pip install 'mysqlpool[command]'``.
    """
    is_own = not options.get("stdout")
    forced = bool(options.get("force_color"))
    if options.get("no_color") or not is_own or not (forced or sys.stdout.isatty()):
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(force_terminal=forced or None, highlight=False)


def encodable(stream: Any, text: str) -> str:
    """The text for this stream. What its encoding lacks, such as in a name, is escaped."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
