"""A connection pool for Django on MySQL and MariaDB.

``DATABASES[alias]["ENGINE"] = "mysqlpool.backends.mysqlpool"`` is all that is
needed; what is exported here gives a thread's connections back at the right
moment.  Importing this package loads neither MySQLdb nor Django's settings.
"""

from .aliases.registry import close_pool
from .contrib.database_url import register_url_scheme
from .executor import PooledThreadPoolExecutor
from .release import release_connections, released
from .scopes import auto_close_db
from .stats import PoolStats, holders, stats

__version__ = "1.0.0"

__all__ = [
    "PoolStats",
    "PooledThreadPoolExecutor",
    "auto_close_db",
    "close_pool",
    "holders",
    "register_url_scheme",
    "release_connections",
    "released",
    "stats",
]
