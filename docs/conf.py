"""Sphinx' settings: ``python -m sphinx -W docs FOLDER`` builds the documentation."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from django.conf import settings

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
if not settings.configured:
    settings.configure()  # Modules that are documented import django.db.

project = "mysqlpool"
author = "mysqlpool contributors"
copyright = "2026, mysqlpool contributors"  # noqa: A001 - Sphinx wants this name
source = (ROOT / "mysqlpool" / "__init__.py").read_text(encoding="utf-8")
release = version = re.findall(r'^__version__.* = "([^"]+)"$', source, re.MULTILINE)[0]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.doctest", "sphinx_copybutton"]
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
copybutton_prompt_text = "$ "

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_title = f"mysqlpool {release}"

# Pages that answer a robot with an error, though a browser gets them.
linkcheck_ignore = [r"https://dev\.mysql\.com/", r"https://jira\.mariadb\.org/"]
