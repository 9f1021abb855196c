"""Nothing at import needs a server, or what a system lacks."""

from __future__ import annotations

import importlib
import pkgutil

import mysqlpool


def test_every_module_can_be_imported() -> None:
    names = [module.name for module in pkgutil.walk_packages(mysqlpool.__path__, "mysqlpool.")]
    assert "mysqlpool.session.sockets" in names
    for name in names:
        if not name.startswith("mysqlpool.backends.gis."):  # It needs GDAL.
            importlib.import_module(name)
