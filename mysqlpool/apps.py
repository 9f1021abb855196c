"""The Django app: optional, for the checks at start and the event log."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Tags, register

from . import checks

CHECKS = {
    checks.check_pool_settings: Tags.compatibility,
    checks.check_foreign_engines: Tags.compatibility,
    checks.check_global_settings: Tags.compatibility,
    checks.check_pool_classes: Tags.compatibility,
    checks.check_recycle: Tags.compatibility,
    checks.check_shared_servers: Tags.compatibility,
    checks.check_middleware: Tags.compatibility,
    checks.check_atomic_streams: Tags.urls,
    checks.check_instrumentation: Tags.compatibility,
    checks.check_green_threads: Tags.compatibility,
    checks.check_task_queues: Tags.compatibility,
    checks.check_tls: Tags.security,
    checks.check_local_infile: Tags.security,
    checks.check_servers: Tags.database,
}


class MySQLPoolConfig(AppConfig):
    name = "mysqlpool"
    verbose_name = "mysqlpool"
    reports_refusals = False
    """Whether bad settings are reported by `mysqlpool.E001`, and are no reason not to start."""

    def ready(self) -> None:
        """Register the system checks, refuse bad settings of any alias, and open the event log.

        The programs whose job it is to report bad settings, with whatever else there is, are not
        refused. An alias refuses them in any case when it is used.
        """
        for check, tag in CHECKS.items():
            register(tag)(check)
        self.reports_refusals = is_checking(arguments_of_django())
        if not self.reports_refusals:
            checks.validate_pool_settings()
        if (log := getattr(settings, "MYSQLPOOL_LOG", None)) is not None:
            # A project without this setting has no need of concurrent_log_handler, so what loads
            # that is imported here.
            from .events.file import configure
            from .stats_log import write_every

            told = configure(log)
            write_every(told.stats_interval if told else 0)


def is_checking(arguments: Sequence[str]) -> bool:
    """Whether these are ``manage.py check``, or ``manage.py mysqlpool check``."""
    return list(arguments[1:2]) == ["check"] or (
        list(arguments[1:2]) == ["mysqlpool"] and "check" in arguments[2:]
    )


def arguments_of_django() -> Sequence[str]:
    """The command line, if it is Django's own that loads the project; else nothing.

    ``sys.argv`` does not tell: in ``pytest check`` that word is a folder.
    """
    management: Any = sys.modules.get("django.core.management")
    frame = sys._getframe() if management else None
    while frame is not None:
        # By its name, as an instrumentation may have put something else into the method's place.
        utility = frame.f_locals.get("self") if frame.f_code.co_name == "execute" else None
        if isinstance(utility, management.ManagementUtility):
            found: Sequence[str] = utility.argv
            return found
        frame = frame.f_back
    return ()
