"""FairQueuePool, for SQLAlchemy and for Django: fair, bounded and self-healing."""

from .lease import Lease
from .pool import FairQueuePool, classify_connect_error

__all__ = ["FairQueuePool", "Lease", "classify_connect_error"]
