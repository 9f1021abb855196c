"""What huey's consumer imports."""

from tests.servers.project import with_huey

__all__ = ["with_huey"]
