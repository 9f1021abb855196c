"""The engine of django-mysql's tests, which sets sql_mode and more, over the one to be tested."""

import os
from importlib import import_module

_theirs = import_module("tests.db_backend.base").DatabaseWrapper
_tested = import_module(f"{os.environ['FIELD_ENGINE']}.base").DatabaseWrapper

# Theirs is a subclass of Django's. So is ours, and theirs goes before it: as if they had written it
# for ours.
DatabaseWrapper = type("DatabaseWrapper", (_theirs, _tested), {"__module__": __name__})
