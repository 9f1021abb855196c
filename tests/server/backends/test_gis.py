"""GeoDjango's engine leases from the pool. Django's own gis_tests run in tox's environment gis."""

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import ConnectionHandler

try:
    from django.contrib.gis.db.backends.mysql.operations import MySQLOperations
    from django.contrib.gis.geos import Point
except ImproperlyConfigured as missing:
    pytest.skip(f"GDAL and GEOS are not installed: {missing}", allow_module_level=True)

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_geometry_goes_over_a_session_that_is_leased_again() -> None:
    database = {**settings.DATABASES["default"], "ENGINE": "mysqlpool.backends.gis"}
    connection = ConnectionHandler({"default": database})["default"]
    seen = []
    try:
        for _lease in range(2):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT CONNECTION_ID(), ST_AsBinary(ST_GeomFromText(%s))", ["POINT(1 2)"]
                )
                seen.append(cursor.fetchone())
            connection.close()
    finally:
        connection.close()
    assert isinstance(connection.ops, MySQLOperations)
    assert seen == [(seen[0][0], bytes(Point(1, 2).wkb))] * 2
