"""The site's settings. SITE in the environment is what a scenario wants otherwise, as JSON."""

import json
import os
from typing import Any

from debug_toolbar.settings import PANELS_DEFAULTS

from tests.settings import DATABASES as BASE

SITE: dict[str, Any] = json.loads(os.environ["SITE"])
SECRET_KEY = "this key is public, so it protects nothing"
DEBUG = SITE.get("debug", True)
ALLOWED_HOSTS = ["*"]
INTERNAL_IPS = ["127.0.0.1"]
USE_TZ = True

DATABASES = {alias: {**BASE[alias], "NAME": name} for alias, name in SITE["names"].items()}
for _alias in ("default", "other"):
    DATABASES[_alias]["OPTIONS"] = {"pool": SITE["pool"]}
    DATABASES[_alias]["ATOMIC_REQUESTS"] = SITE.get("atomic_requests", False)

INSTALLED_APPS = ["django.contrib.staticfiles", "tests.rows", "debug_toolbar"]
MIDDLEWARE = [
    "mysqlpool.middleware.ReleaseConnectionsMiddleware",
    "debug_toolbar.middleware.DebugToolbarMiddleware",
]
if SITE.get("toolbar_first"):
    MIDDLEWARE.reverse()
ROOT_URLCONF = "tests.server.contrib.toolbar.site"
STATIC_URL = "/static/"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
OTHER_PANELS = [
    "debug_toolbar.panels.history.HistoryPanel",
    "debug_toolbar.panels.timer.TimerPanel",
    *(["debug_toolbar.panels.sql.SQLPanel"] if SITE.get("sql_panel", True) else []),
]
if SITE.get("all_panels"):
    OTHER_PANELS = PANELS_DEFAULTS
DEBUG_TOOLBAR_PANELS = [*OTHER_PANELS, "mysqlpool.contrib.debug_toolbar.PoolPanel"]
DEBUG_TOOLBAR_CONFIG = {
    "RENDER_PANELS": SITE.get("render_panels"),
    "SHOW_TOOLBAR_CALLBACK": "tests.server.contrib.toolbar.site.is_shown",
}
