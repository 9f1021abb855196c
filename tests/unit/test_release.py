"""release_connections: where there is nothing to release."""

from __future__ import annotations

import pytest

from mysqlpool import release_connections


def test_nothing_happens_where_nothing_is_held() -> None:
    release_connections()
    release_connections()


def test_what_cannot_name_an_alias_is_refused() -> None:
    with pytest.raises(TypeError, match="not 5"):
        release_connections(5)  # type: ignore[arg-type]
