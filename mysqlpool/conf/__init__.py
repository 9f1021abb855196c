"""``OPTIONS["pool"]`` and ``MYSQLPOOL_*``, checked, and made into one frozen object."""
