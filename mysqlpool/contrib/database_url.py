"""URLs such as ``mysqlpool://user:password@host/name``, for dj-database-url and django-environ.

Neither package looks for schemes of others by itself. Both take an ``engine`` beside the URL, for
which nothing has to be registered.
"""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

__all__ = ["register_url_scheme"]

ENGINES = {
    "mysqlpool": "mysqlpool.backends.mysqlpool",
    "mysqlpoolgis": "mysqlpool.backends.gis",
}


def register_url_scheme() -> None:
    """Make ``mysqlpool://`` and ``mysqlpoolgis://`` known to these packages.

    Call it in the settings before they read a URL. A second call changes nothing.

    One of them is enough. Raises ``ImproperlyConfigured`` where none is installed.
    """
    if not any([_with_dj_database_url(), _with_django_environ()]):
        raise ImproperlyConfigured(
            "register_url_scheme() found nobody to tell: install dj-database-url or django-environ"
        )


def _with_dj_database_url() -> bool:
    try:
        import dj_database_url as package
    except ImportError:
        return False
    if not hasattr(package, "register"):
        raise ImproperlyConfigured("register_url_scheme() needs dj-database-url 3.0 or newer")
    for scheme, engine in ENGINES.items():
        # With it goes what is done with the query of a mysql:// URL, such as ssl-ca.
        package.register(scheme, engine)(package.ENGINE_SCHEMES["mysql"].postprocess)
    return True


def _with_django_environ() -> bool:
    try:
        from environ import Env  # Another package of this name, environ-config, has no Env.
    except ImportError:
        return False
    Env.DB_SCHEMES.update(ENGINES)
    return True
