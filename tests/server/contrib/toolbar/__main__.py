"""Run the scenarios whose names come in, a line each, and tell of each what it raised, as JSON."""

import json
import sys
import traceback
import warnings

import django

warnings.filterwarnings("error", module="mysqlpool|tests")
django.setup()

from debug_toolbar.store import get_store  # noqa: E402 - it needs Django's settings

import mysqlpool  # noqa: E402

from . import scenarios  # noqa: E402

for name in sys.stdin:
    error = ""
    try:
        getattr(scenarios, name.strip())()
    except BaseException:
        error = traceback.format_exc()
    sys.stdout.write(json.dumps(error) + "\n")
    sys.stdout.flush()
    get_store().clear()
    mysqlpool.release_connections()
    mysqlpool.close_pool()
