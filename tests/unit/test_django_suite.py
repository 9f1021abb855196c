"""The comparison of Django's own suite on two engines can fail, and only for a reason."""

from tests.django_suite import Outcome, differences

DJANGOS = Outcome(run=3, bad={"fails.everywhere": "F"}, skipped={"skipped.everywhere": "S"})


def test_a_failure_of_both_engines_is_no_difference() -> None:
    assert differences(DJANGOS, DJANGOS, {}) == {}


def test_a_failure_a_skip_or_a_missing_test_on_ours_only_is_a_difference() -> None:
    ours = Outcome(
        run=2,
        bad={"fails.everywhere": "F", "fails.on.ours": "AssertionError"},
        skipped={"skipped.everywhere": "S", "skipped.on.ours": "no"},
    )
    assert differences(DJANGOS, ours, {}) == {
        "fails.on.ours": "AssertionError",
        "skipped.on.ours": "skipped: no",
        "number of tests": "2 instead of 3",
    }


def test_an_allowed_difference_is_left_out() -> None:
    ours = Outcome(run=3, bad={"fails.on.ours": "F"}, skipped={})
    assert differences(DJANGOS, ours, {"fails.on.ours": "the reason"}) == {}
