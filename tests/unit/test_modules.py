"""Nothing at import needs a server, or what a system lacks, and a process starts quickly."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import mysqlpool
from tests.helpers import ROOT

START = """
import re

compiled = []
compile = re.compile

def measured(pattern, *flags):
    compiled.append(len(pattern))
    return compile(pattern, *flags)

import django
from django.conf import settings

engine = {"ENGINE": "mysqlpool.backends.mysqlpool", "NAME": "x"}
settings.configure(INSTALLED_APPS=["mysqlpool"], DATABASES={"default": engine})
re.compile = measured
django.setup()
from django.db import connection

connection.vendor
print(sum(compiled))
"""


def test_every_module_can_be_imported() -> None:
    names = [module.name for module in pkgutil.walk_packages(mysqlpool.__path__, "mysqlpool.")]
    assert "mysqlpool.session.sockets" in names
    for name in names:
        if not name.startswith("mysqlpool.backends.gis."):  # It needs GDAL.
            importlib.import_module(name)


def test_a_process_starts_without_the_patterns_that_few_statements_need() -> None:
    """All together have 300,000 characters, and half a second went by until they were compiled."""
    run = [sys.executable, "-W", "error", "-c", START]
    answer = subprocess.run(run, cwd=ROOT, check=True, timeout=60, stdout=subprocess.PIPE)
    assert 20_000 < int(answer.stdout) < 60_000
