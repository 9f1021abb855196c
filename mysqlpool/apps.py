"""The Django app: optional, for the checks at start and the event log."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Tags, register

from . import checks


class MySQLPoolConfig(AppConfig):
    name = "mysqlpool"
    verbose_name = "mysqlpool"

    def ready(self) -> None:
        """Refuse bad settings of any alias, open the event log, register the system checks."""
        checks.validate_pool_settings()
        if (log := getattr(settings, "MYSQLPOOL_LOG", None)) is not None:
            # A project without this setting has no need of concurrent_log_handler, so what loads
            # that is imported here.
            from .events.file import configure
            from .stats_log import write_every

            told = configure(log)
            write_every(told.stats_interval if told else 0)
        register(Tags.compatibility)(checks.check_global_settings)
        register(Tags.compatibility)(checks.check_pool_classes)
        register(Tags.compatibility)(checks.check_instrumentation)
        register(Tags.security)(checks.check_tls)
