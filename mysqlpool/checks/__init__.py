"""What is refused at start, and the system checks. A check's ID is never given to another one."""

from .comparison import Comparison, compare, demand_found
from .database import check_servers
from .entries import BACKEND_MODULE, our_aliases
from .findings import Demand, Finding, Level
from .pools import (
    check_foreign_engines,
    check_global_settings,
    check_pool_classes,
    check_pool_settings,
    check_recycle,
    check_shared_servers,
    validate_pool_settings,
)
from .requests import check_atomic_streams, check_middleware
from .security import check_local_infile, check_tls
from .surroundings import check_green_threads, check_instrumentation, check_task_queues

__all__ = [
    "BACKEND_MODULE",
    "Comparison",
    "Demand",
    "Finding",
    "Level",
    "check_atomic_streams",
    "check_foreign_engines",
    "check_global_settings",
    "check_green_threads",
    "check_instrumentation",
    "check_local_infile",
    "check_middleware",
    "check_pool_classes",
    "check_pool_settings",
    "check_recycle",
    "check_servers",
    "check_shared_servers",
    "check_task_queues",
    "check_tls",
    "compare",
    "demand_found",
    "our_aliases",
    "validate_pool_settings",
]
