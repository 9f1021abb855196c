"""Which aliases a command is about: all of ours, or those that were named."""

from __future__ import annotations

import pytest
from django.core.management import CommandError

from mysqlpool.management.choice import Choice, chosen


def test_all_of_ours_are_chosen_and_the_others_are_told() -> None:
    choice = chosen(None)
    assert choice.aliases == ("default", "other")
    assert choice.others == (("stock", "django.db.backends.mysql"),)
    assert "'stock' (on django.db.backends.mysql)" in choice.note


@pytest.mark.parametrize("wanted", ["other", ["other"], ["other", "other"]])
def test_a_named_alias_is_chosen_alone(wanted: str | list[str]) -> None:
    assert chosen(wanted) == Choice(("other",))
    assert chosen(wanted).note == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("defualt", "did you mean 'default'"),
        ("zzz", "there are: default, other, stock"),
        ("stock", "is on django.db.backends.mysql and has no pool; on mysqlpool are: default, oth"),
    ],
)
def test_an_alias_that_is_not_ours_is_refused_by_name(name: str, reason: str) -> None:
    with pytest.raises(CommandError, match=reason) as caught:
        chosen(["default", name])
    assert repr(name) in str(caught.value)


def test_a_project_without_a_pool_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mysqlpool.management.choice.our_aliases", lambda: iter(()))
    with pytest.raises(CommandError, match=r"Set 'ENGINE': 'mysqlpool\.backends\.mysqlpool'"):
        chosen(None)
