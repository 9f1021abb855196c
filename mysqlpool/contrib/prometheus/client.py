"""The package prometheus_client, if it is there, and in which of its modes it is."""

from __future__ import annotations

import os
from typing import Any

from django.core.exceptions import ImproperlyConfigured

__all__ = ["check_folder", "is_multiprocess", "prometheus_client"]

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def prometheus_client() -> Any:
    """Return the package. Raises ``ImproperlyConfigured`` where it is not installed."""
    try:
        import prometheus_client
        import prometheus_client.core
        import prometheus_client.utils
        import prometheus_client.values
    except ImportError as error:
        raise ImproperlyConfigured(
            "mysqlpool.contrib.prometheus needs prometheus_client: "
            "pip install 'mysqlpool[prometheus]'"
        ) from error
    return prometheus_client


def is_multiprocess() -> bool:
    """Whether the numbers of several processes are told by one, through files.

    prometheus_client decides that for good when it is imported.
    """
    return bool(getattr(prometheus_client().values.ValueClass, "_multiprocess", False))


def check_folder() -> None:
    """Refuse a folder that would be without effect, does not exist, or cannot be written.

    The numbers of the workers would be missing without a word. Raises ``ImproperlyConfigured``.
    """
    decided, folder = is_multiprocess(), os.environ.get(FOLDER, "")
    if FOLDER in os.environ and not decided:
        raise ImproperlyConfigured(
            f"{FOLDER} was set after prometheus_client had been imported, which then ignores it: "
            "set it in the environment of the process, before Python starts"
        )
    if decided and not os.path.isdir(folder):
        raise ImproperlyConfigured(
            f"{FOLDER} has to name a folder that exists, and not {folder!r}: make it, empty, "
            "before the server starts"
        )
    if decided and not os.access(folder, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(
            f"{FOLDER} names {folder!r}, which this process cannot write to: let the user whom the "
            "workers run as own it"
        )
