"""The index: one row for each file."""

from django.db import models


class File(models.Model):
    """A file as it was when it was last read.

    The SHA-256 of the path is the primary key, because a path may be longer than the 3072 bytes
    that InnoDB can index. There is no other unique index: a duplicate primary key is locked
    without the gap before it, so that two indexers which write the same rows never deadlock
    (https://dev.mysql.com/doc/refman/8.4/en/innodb-locks-set.html).
    """

    path_sha256 = models.CharField(max_length=64, primary_key=True)
    path = models.TextField(db_collation="utf8mb4_bin")
    size = models.PositiveBigIntegerField(help_text="bytes", db_index=True)
    lines = models.PositiveBigIntegerField(help_text="newline bytes, in binary files too")
    sha256 = models.CharField(max_length=64)
    indexed_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.path
