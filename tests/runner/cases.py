"""One of each of Django's test cases, twice, so that ``--parallel 2`` has something to share."""

from __future__ import annotations

import threading
import urllib.request
from typing import Any

from django.db import connection, transaction
from django.test import LiveServerTestCase, TestCase, TransactionTestCase, skipUnlessDBFeature

from mysqlpool import PooledThreadPoolExecutor, auto_close_db
from tests.helpers import HANG
from tests.rows.models import Row


class Rollback(TestCase):
    """Each test runs in a transaction, which the helpers leave alone."""

    row: Row

    @classmethod
    def setUpTestData(cls) -> None:
        cls.row = Row.objects.create(text="class")

    def test_the_class_row_is_there_and_the_helpers_do_not_release(self) -> None:
        auto_close_db(Row.objects.create)(text="method")
        with auto_close_db():
            self.assertEqual(Row.objects.count(), 2)
        self.assertEqual(Row.objects.count(), 2)

    def test_nothing_of_the_other_test_is_left(self) -> None:
        self.assertEqual(list(Row.objects.all()), [self.row])

    def test_on_commit_callbacks_are_captured(self) -> None:
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            transaction.on_commit(lambda: None)
        self.assertEqual(len(callbacks), 1)

    def test_queries_are_counted(self) -> None:
        with self.assertNumQueries(1):
            Row.objects.count()


class Flush(TransactionTestCase):
    """Each test sees committed rows, and so do its threads."""

    @skipUnlessDBFeature("supports_transactions")
    def test_threads_see_what_was_committed(self) -> None:
        Row.objects.create(text="committed")
        with PooledThreadPoolExecutor(4) as executor:
            counts = list(executor.map(lambda _: Row.objects.count(), range(20)))
        self.assertEqual(counts, [1] * 20)

    def test_the_table_was_flushed(self) -> None:
        self.assertEqual(Row.objects.count(), 0)
        self.assertIn("test_", connection.settings_dict["NAME"])


class Live(LiveServerTestCase):
    """The server's threads lease from the same pool as the test."""

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.live_server_url + path, timeout=HANG) as response:
            body: bytes = response.read()
            return body

    def test_a_page_is_served_by_a_leased_session(self) -> None:
        self.assertIn(b"<html", self.get("/").lower())

    def test_many_clients_at_once_are_served(self) -> None:
        pages: list[Any] = []
        threads = [threading.Thread(target=lambda: pages.append(self.get("/"))) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANG)
        self.assertEqual(len(pages), 12)


class FlushAgain(Flush):
    pass


class RollbackAgain(Rollback):
    pass
