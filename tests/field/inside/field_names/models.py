"""Names of django-mysql 3.11.1 that its tests import, and that newer versions do not have.

Where Django has the like, that stands in. ``HANDLER`` is taken from the source package itself, as
it is about cursors that stay open. A test of something else that is gone fails on every engine.
"""

# These packages are in tox's environment "field", and not where types are checked.
# mypy: disable-error-code="import-not-found,import-untyped"

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from django import forms as django_forms
from django.db import models as django_models
from django.db.models import functions as django_functions
from django_mysql import forms, models, utils
from django_mysql.models import functions, query

_FUNCTIONS = (
    "Abs",
    "Ceiling",
    "Floor",
    "Greatest",
    "Least",
    "MD5",
    "Round",
    "SHA1",
    "SHA2",
    "Sign",
)


def _handler_module() -> ModuleType:
    path = Path("src/django_mysql/models/handler.py").absolute()
    spec = importlib.util.spec_from_file_location("django_mysql.models.handler", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_handler = _handler_module()


def _open_handler(queryset: Any) -> Any:
    return _handler.Handler(queryset)


def _open_handler_of_all(manager: Any) -> Any:
    return _handler.Handler(manager.get_queryset())


def _is_mariadb(connection: Any) -> bool:
    return bool(connection.mysql_is_mariadb)


def _have_program(name: str) -> bool:
    return False


def _give(module: Any, **values: Any) -> None:
    for name, value in values.items():
        if not hasattr(module, name):
            setattr(module, name, value)


_give(functions, **{name: getattr(django_functions, name, None) for name in _FUNCTIONS})
_give(models, JSONField=django_models.JSONField)
_give(forms, JSONField=django_forms.JSONField)
_give(utils, connection_is_mariadb=_is_mariadb, have_program=_have_program)
_give(utils, PTFingerprintThread=None, pt_fingerprint=None)
_give(query.QuerySetMixin, handler=_open_handler)
(_manager,) = models.Model._meta.local_managers
_give(type(_manager), handler=_open_handler_of_all)
