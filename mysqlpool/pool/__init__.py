"""FairQueuePool, for SQLAlchemy and for Django: fair, bounded and self-healing."""

from .lease import Lease
from .pool import FairQueuePool, cannot_connect, classify_connect_error

__all__ = ["FairQueuePool", "Lease", "cannot_connect", "classify_connect_error"]
