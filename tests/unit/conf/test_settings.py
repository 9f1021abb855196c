"""Pool settings: what is accepted, what it becomes, and how everything else is refused."""

from __future__ import annotations

import contextlib
import copy
import re
import subprocess
import sys
import warnings
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings
from sqlalchemy.pool import (
    AssertionPool,
    AsyncAdaptedQueuePool,
    NullPool,
    Pool,
    QueuePool,
    SingletonThreadPool,
)

from mysqlpool.conf.rules import RULES
from mysqlpool.conf.settings import (
    DEFAULT_POOL_CLASS,
    POOL_CLASSES,
    PoolSettings,
    parse_pool_settings,
    refusals,
)
from tests.helpers import ROOT


class CustomPool(QueuePool):
    def __init__(self, creator: Any, *, colour: str = "red", **kw: Any) -> None:
        super().__init__(creator, **kw)


class ClosedPool(QueuePool):
    """Takes no further keywords of its bases."""

    def __init__(self, creator: Any, pool_size: int = 1) -> None:
        super().__init__(creator, pool_size=pool_size)


@pytest.fixture(autouse=True)
def no_globals(settings: Settings) -> None:
    for name in ("MYSQLPOOL_BACKEND", "MYSQLPOOL_ARGUMENTS"):
        if hasattr(settings, name):
            delattr(settings, name)


def parse(pool: Any = None, alias: str = "default", **entry: Any) -> PoolSettings:
    options = {} if pool is None else {"pool": pool}
    return parse_pool_settings(alias, {"PASSWORD": "s3cret", "OPTIONS": options, **entry})


def refusal(pool: Any = None, **entry: Any) -> str:
    with pytest.raises(ImproperlyConfigured) as caught:
        parse(pool, **entry)
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


QUEUE = {"class": "QueuePool"}


@pytest.mark.parametrize("pool", [None, True, {}])
def test_an_alias_that_changed_only_its_engine_gets_the_default_pool(pool: Any) -> None:
    parsed = parse(pool)
    assert parsed.pool_class.__name__ == DEFAULT_POOL_CLASS
    assert parsed.pooled
    assert dict(parsed.arguments) == {
        "pool_size": 10,
        "max_overflow": 0,
        "timeout": 30,
        "recycle": 1800,
        "use_lifo": True,
    }
    assert (parsed.reset, parsed.ping_after, parsed.ping_timeout) == ("dirty", 30.0, 1.0)


def test_an_alias_without_options_gets_the_default_pool() -> None:
    assert parse_pool_settings("default", {}).pooled


def test_pool_false_is_sqlalchemys_nullpool_and_may_be_persistent() -> None:
    parsed = parse(False, CONN_MAX_AGE=600)
    assert parsed.pool_class is NullPool
    assert not parsed.pooled
    assert "pool_size" not in parsed.arguments


def test_an_aliass_own_keys_win_over_the_global_ones_and_these_over_the_defaults(
    settings: Settings,
) -> None:
    settings.MYSQLPOOL_BACKEND = "QueuePool"
    settings.MYSQLPOOL_ARGUMENTS = {"pool_size": 3, "timeout": 7, "ping_after": 5}
    parsed = parse({"pool_size": 4})
    assert parsed.pool_class is QueuePool
    assert parsed.arguments["pool_size"] == 4
    assert parsed.arguments["timeout"] == 7
    assert parsed.arguments["max_overflow"] == 0
    assert parsed.ping_after == 5


def test_an_alias_of_another_class_takes_the_global_arguments_its_class_knows(
    settings: Settings,
) -> None:
    settings.MYSQLPOOL_BACKEND = "QueuePool"
    settings.MYSQLPOOL_ARGUMENTS = {"pool_size": 3, "timeout": 7, "recycle": 60}
    assert dict(parse({"class": "NullPool"}).arguments) == {"recycle": 60}
    assert dict(parse(False).arguments) == {"recycle": 60}


def test_global_arguments_are_checked_against_the_global_class(settings: Settings) -> None:
    settings.MYSQLPOOL_BACKEND = "NullPool"
    settings.MYSQLPOOL_ARGUMENTS = {"pool_size": 3}
    expected = "MYSQLPOOL_ARGUMENTS['pool_size'] is not a keyword of NullPool"
    assert expected in refusal({"class": "QueuePool"})


def test_django_mysqlpools_own_settings_still_work(settings: Settings) -> None:
    """Its README's example, whose use_threadlocal SQLAlchemy has dropped."""
    settings.MYSQLPOOL_BACKEND = "QueuePool"
    settings.MYSQLPOOL_ARGUMENTS = {
        "use_threadlocal": False,
        "pool_size": 5,
        "max_overflow": 2,
        "timeout": 9,
    }
    with pytest.warns(RuntimeWarning, match=r"MYSQLPOOL_ARGUMENTS\['use_threadlocal'\] has no eff"):
        parsed = parse()
    assert parsed.pool_class is QueuePool
    assert parsed.arguments["pool_size"] == 5
    assert "use_threadlocal" not in parsed.arguments


def test_use_threadlocal_warns_in_the_aliass_own_options_too() -> None:
    with pytest.warns(RuntimeWarning, match=r"DATABASES\['default'\].*SQLAlchemy dropped it"):
        assert "use_threadlocal" not in parse({"use_threadlocal": True}).arguments


@pytest.mark.parametrize("name", [name for name in POOL_CLASSES if name != "FairQueuePool"])
def test_every_named_class_can_be_made_with_its_defaults(name: str) -> None:
    parsed = parse({"class": name})
    assert parsed.pool_class.__name__ == name
    pool = parsed.pool_class(object, **parsed.arguments)  # type: ignore[arg-type]
    assert isinstance(pool, Pool)


def test_every_documented_keyword_of_its_class_reaches_the_pool() -> None:
    given = {"pool_size": 2, "max_overflow": 1, "timeout": 0.5, "recycle": 5, "use_lifo": False}
    general = {"echo": "debug", "logging_name": "mine", "pre_ping": True}
    arguments = parse(QUEUE | given | general | {"reset_on_return": True}).arguments
    assert dict(arguments) == given | general | {"reset_on_return": "rollback"}
    pool = QueuePool(object, **arguments)  # type: ignore[arg-type]
    assert pool.size() == 2


def test_a_keyword_that_no_signature_shows_is_known() -> None:
    parsed = parse({"class": "AssertionPool", "store_traceback": False})
    assert parsed.pool_class is AssertionPool
    assert parsed.arguments["store_traceback"] is False
    assert "SingletonThreadPool" in refusal({"class": "SingletonThreadPool", "store_traceback": 1})


@pytest.mark.parametrize("named", [f"{__name__}.CustomPool", CustomPool])
def test_a_class_of_your_own_has_its_own_keywords_and_its_bases(named: Any) -> None:
    parsed = parse({"class": named, "colour": "blue", "pool_size": 3})
    assert parsed.pool_class is CustomPool
    assert parsed.arguments["colour"] == "blue"
    assert parsed.arguments["pool_size"] == 3
    assert parsed.arguments["use_lifo"] is True


def test_a_class_without_further_keywords_gets_only_what_it_knows() -> None:
    assert dict(parse({"class": ClosedPool}).arguments) == {"pool_size": 10}
    assert "is not a keyword of ClosedPool" in refusal({"class": ClosedPool, "timeout": 3})


@pytest.mark.parametrize("never", [None, -1, -1.0])
def test_recycle_never_is_what_sqlalchemy_calls_it(never: Any) -> None:
    assert parse({"recycle": never}).arguments["recycle"] == -1


def test_health_checks_mean_a_ping_at_every_lease() -> None:
    assert parse(CONN_HEALTH_CHECKS=True).arguments["pre_ping"] is True
    assert "pre_ping" not in parse(CONN_HEALTH_CHECKS=False).arguments
    assert "remove one" in refusal({"pre_ping": False}, CONN_HEALTH_CHECKS=True)
    message = refusal(CONN_HEALTH_CHECKS="yes")
    assert message == "DATABASES['default']['CONN_HEALTH_CHECKS'] must be True or False, not 'yes'"


@pytest.mark.parametrize("age", [1, 600, None, "0"])
def test_pooling_refuses_persistent_connections_as_djangos_postgresql_pool_does(age: Any) -> None:
    message = refusal(CONN_MAX_AGE=age)
    assert message.startswith("Pooling doesn't support persistent connections.")
    assert f"DATABASES['default']['CONN_MAX_AGE'] must be 0, not {age!r}: remove it" in message


BAD_VALUES: dict[str, tuple[Any, ...]] = {
    "pool_size": (0, -1, "5", 1.5, True, None),
    "max_overflow": (-1, "0", 0.0, False, None),
    "timeout": (-1, "30", None, True, float("nan"), float("inf"), 10**400, 1e10),
    "recycle": (0, -2, "never", False, float("nan"), float("inf")),
    "use_lifo": (0, 1, None, "True"),
    "pre_ping": (1, None),
    "echo": ("info", 1, None),
    "logging_name": ("", 3, None),
    "reset_on_return": (None, False, "commit", 1),
    "unscoped": ("log", "", False, True, []),
    "begin": ("late", "", None, True, []),
    "reset": ("never", "changed", None, True, []),
    "hosts": ("last", "", None, True, ["first"]),
    "tcp_keepalive": (0, 1, None, "on", 60),
    "tcp_user_timeout": (0, -1, "30", True, float("nan")),
    "host_retry": (-1, None, "30", float("nan")),
    "ping_after": (-1, None, "30", float("nan")),
    "ping_timeout": (0, -1, None, "1"),
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in BAD_VALUES.items() for v in vs])
def test_a_bad_value_is_refused_with_its_place_and_rule(key: str, value: Any) -> None:
    message = refusal(QUEUE | {key: value})
    assert message.startswith(f"DATABASES['default']['OPTIONS']['pool'][{key!r}] must be ")
    assert f", not {value!r}"[:100] in message


@pytest.mark.parametrize(
    ("key", "value"),
    [(k, v) for k in ("max_idle", "leak_after") for v in (0, -1, "1", True, float("nan"))]
    + [(k, v) for k in ("min_idle", "max_waiting") for v in (-1, 1.0, None, True)]
    + [("wait_for_server", v) for v in (1, 0, None, "True", 30)],
)
def test_the_rules_of_fair_queue_pools_keywords(key: str, value: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="must be"):
        RULES[key].apply(key, value)


def test_messages_say_what_to_write() -> None:
    assert refusal({"pool_size": "5"}) == (
        "DATABASES['default']['OPTIONS']['pool']['pool_size'] must be a positive integer, not '5'"
    )
    unlimited = "that would mean no limit, and a process is held to a fixed number of sessions"
    assert refusal({"pool_size": 0}).endswith(f"must be a positive integer, not 0: {unlimited}")
    assert refusal({"max_overflow": -1}).endswith(f"not -1: {unlimited}")


def test_a_session_for_each_statement_is_refused() -> None:
    message = refusal({"lease": "transaction", "reset": "always"})
    assert message.startswith("DATABASES['default']['OPTIONS']['pool']['reset'] must be \"dirty\"")
    assert message.endswith("each statement would open a session")


def test_a_typo_is_answered_with_the_nearest_known_key(settings: Settings) -> None:
    settings.MYSQLPOOL_BACKEND = "QueuePool"
    settings.MYSQLPOOL_ARGUMENTS = {"pool_sise": 5}
    assert refusal() == (
        "MYSQLPOOL_ARGUMENTS['pool_sise'] is not a keyword of QueuePool; did you mean 'pool_size'?"
    )
    settings.MYSQLPOOL_ARGUMENTS = {}
    assert refusal({"pingafter": 1}).endswith("did you mean 'ping_after'?")
    assert (
        "known are: begin, connect_args, echo, host_retry, hosts, lease, logging_name"
        in refusal({"zzz": 1})
    )
    assert refusal({"class": "QuePool"}).endswith("not 'QuePool': did you mean 'QueuePool'?")


@pytest.mark.parametrize("key", ["creator", "dialect", "events", "_dispatch"])
def test_what_the_backend_gives_itself_is_refused(key: str) -> None:
    assert refusal({key: None}).endswith("is not yours to give; mysqlpool gives it")


@pytest.mark.parametrize("pool", ["yes", 5, 0, 1, ["pool_size"], object])
def test_a_pool_that_is_no_switch_and_no_dict_is_refused(pool: Any) -> None:
    expected = f"DATABASES['default']['OPTIONS']['pool'] must be True, False or a dict, not {pool}"
    assert refusal(pool).replace("'yes'", "yes").replace("'pool_size'", "pool_size") == (
        expected.replace("'pool_size'", "pool_size")
    )


def test_keys_must_be_strings() -> None:
    assert refusal({5: 1}).endswith("['pool'] must be strings, not 5")
    assert refusal({None: 1}).endswith("must be strings, not None")


def test_a_value_without_a_repr_is_refused_by_its_type() -> None:
    """Python refuses to print an integer of more than 4300 digits."""
    assert refusal({"timeout": 10**5000}).endswith(", not <int>")


def test_a_long_value_is_cut() -> None:
    assert len(refusal({"timeout": "x" * 10_000})) < 400


def test_the_value_of_an_unknown_key_is_not_told() -> None:
    assert "hunter2" not in refusal({"password": "hunter2"})


def test_a_refused_setting_names_its_alias() -> None:
    assert "DATABASES['other']" in refusal({"timeout": -1}, alias="other")


@pytest.mark.parametrize(
    "wanted",
    [
        "AsyncAdaptedQueuePool",
        "FallbackAsyncAdaptedQueuePool",
        "sqlalchemy.pool.AsyncAdaptedQueuePool",
        AsyncAdaptedQueuePool,
        type("Derived", (AsyncAdaptedQueuePool,), {}),
    ],
)
def test_asyncio_pools_are_refused_with_the_reason(wanted: Any) -> None:
    assert "it is for asyncio drivers, and mysqlclient is none" in refusal({"class": wanted})


@pytest.mark.parametrize(
    "wanted",
    [None, 5, "", "Pool", "a..b", ".a.b", "no such thing", dict, Pool, f"{__name__}.parse"],
)
def test_what_is_no_pool_class_is_refused(wanted: Any) -> None:
    message = refusal({"class": wanted})
    assert message.startswith("DATABASES['default']['OPTIONS']['pool']['class'] must be one of ")


def test_a_class_that_cannot_be_imported_is_refused_with_the_cause() -> None:
    message = refusal({"class": "no_such_package.Pool"})
    assert "cannot be imported: No module named 'no_such_package'" in message


def test_bad_global_settings_are_refused_by_name(settings: Settings) -> None:
    settings.MYSQLPOOL_BACKEND = "QuePool"
    assert refusal().startswith("MYSQLPOOL_BACKEND must be one of FairQueuePool, QueuePool")
    settings.MYSQLPOOL_BACKEND = "QueuePool"
    settings.MYSQLPOOL_ARGUMENTS = [("pool_size", 5)]
    assert refusal().startswith("MYSQLPOOL_ARGUMENTS must be a dict, not [")
    settings.MYSQLPOOL_ARGUMENTS = {"class": "NullPool"}
    assert refusal() == "MYSQLPOOL_ARGUMENTS has no 'class'; name the class in MYSQLPOOL_BACKEND"
    settings.MYSQLPOOL_ARGUMENTS = {"timeout": -1}
    assert refusal().startswith("MYSQLPOOL_ARGUMENTS['timeout'] must be a number of seconds from 0")


def test_no_more_sessions_are_kept_idle_than_there_may_be() -> None:
    class IdlePool(QueuePool):
        def __init__(self, creator: Any, min_idle: int = 0, **kw: Any) -> None:
            super().__init__(creator, **kw)

    assert parse({"class": IdlePool, "min_idle": 10}).arguments["min_idle"] == 10
    message = refusal({"class": IdlePool, "min_idle": 11})
    assert message.endswith("min_idle (11) must not be above pool_size (10)")


def test_pool_settings_cannot_be_changed_and_tell_no_password() -> None:
    parsed = parse({"pool_size": 3})
    with pytest.raises(TypeError):
        parsed.arguments["pool_size"] = 5  # type: ignore[index]
    with pytest.raises(AttributeError):
        parsed.pooled = False  # type: ignore[misc]
    assert "s3cret" not in repr(parsed)


def test_importing_the_module_needs_no_driver_and_no_django_settings() -> None:
    code = (
        "import sys; sys.modules['MySQLdb'] = None\n"
        "import mysqlpool.conf.settings, mysqlpool.events.log\n"
        "from django.conf import settings; assert not settings.configured\n"
        "assert 'concurrent_log_handler' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["rollback", "debug", "dirty", "always", 10**400, object(), b"x", [], {}, {1}]),
)
KEYS = st.one_of(
    st.sampled_from([*RULES, "class", "creator", "use_threadlocal"]), st.text(max_size=8), JUNK
).filter(lambda key: not isinstance(key, (list, dict, set)))
POOLS = st.one_of(JUNK, st.dictionaries(KEYS, JUNK, max_size=4))


@hypothesis_settings(deadline=None)
@given(
    pool=POOLS,
    arguments=POOLS,
    backend=st.one_of(JUNK, st.sampled_from([n for n in POOL_CLASSES if n != "FairQueuePool"])),
    age=st.one_of(st.just(0), JUNK),
    checks=st.one_of(st.booleans(), JUNK),
)
def test_any_junk_is_either_settings_or_a_refusal_and_never_changed(
    pool: Any, arguments: Any, backend: Any, age: Any, checks: Any
) -> None:
    entry = {"OPTIONS": {"pool": pool}, "CONN_MAX_AGE": age, "CONN_HEALTH_CHECKS": checks}
    before = (_layers(entry), _layers(arguments))
    with (
        override_settings(MYSQLPOOL_BACKEND=backend, MYSQLPOOL_ARGUMENTS=arguments),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", RuntimeWarning)
        with contextlib.suppress(ImproperlyConfigured):
            assert isinstance(parse_pool_settings("default", entry), PoolSettings)
    assert (_layers(entry), _layers(arguments)) == before


def _layers(value: Any) -> Any:
    """A copy of the containers in ``value`` whose members are compared by identity."""
    if isinstance(value, dict):
        return [(id(k), _layers(v)) for k, v in value.items()]
    return id(value) if not isinstance(value, (list, set)) else copy.copy(value)


@hypothesis_settings(deadline=None)
@given(key=st.sampled_from(sorted(RULES)), value=JUNK)
def test_every_value_a_rule_lets_through_suits_the_pool_class(key: str, value: Any) -> None:
    """What is accepted for a SQLAlchemy class can be given to it."""
    for pool_class in (QueuePool, SingletonThreadPool, AssertionPool):
        try:
            parsed = parse({"class": pool_class, key: value})
        except ImproperlyConfigured:
            continue
        pool_class(object, **parsed.arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (None, "None"),
        ([], "[]"),
        ('{"passwd": "s3cret"}', "<class 'str'>"),
        (["x"], "<class 'list'>"),
    ],
)
def test_options_that_are_no_dict_are_refused(options: object, shown: str) -> None:
    entry = {"PASSWORD": "s3cret", "OPTIONS": options}
    told = f"DATABASES['default']['OPTIONS'] must be a dict, not {shown}"
    with pytest.raises(ImproperlyConfigured, match=re.escape(told)):
        parse_pool_settings("default", entry)
    assert [str(one) for one in refusals("default", entry)] == [told]


def test_what_sqlalchemy_calls_connect_args_is_refused_without_its_password() -> None:
    entry = {"OPTIONS": {"pool": {"connect_args": {"passwd": "s3cret"}}}}
    with pytest.raises(ImproperlyConfigured, match="must be a callable") as caught:
        parse_pool_settings("default", entry)
    assert "s3cret" not in str(caught.value)
