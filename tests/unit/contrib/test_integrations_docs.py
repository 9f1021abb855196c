"""docs/integrations.rst is true: its Python runs, and what it names can be imported."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.utils.module_loading import import_string

from tests.documents import TEXTS, Block, blocks_of

PAGE = "docs/integrations.rst"
CODE = [block for block in blocks_of(TEXTS[PAGE], PAGE) if block.kind == "python"]


@pytest.mark.parametrize("block", CODE, ids=str)
def test_the_code_runs(block: Block) -> None:
    names: dict[str, Any] = {}
    exec(compile(block.text, PAGE, "exec"), names)
    assert names.keys() & {"DEBUG_TOOLBAR_PANELS", "urlpatterns", "checks"}


def test_what_is_named_can_be_imported() -> None:
    named = set(re.findall(r"mysqlpool\.contrib\.\w+\.\w+", TEXTS[PAGE]))
    assert {name.rpartition(".")[2] for name in named} == {"PoolPanel", "PoolHealthCheck"}
    for name in named:
        import_string(name)
