"""The state that a connection has in Python: its encoders, its converters, its other attributes.

The driver keeps how it writes and reads values in dicts that anybody may change
(``connection.encoders[int] = f``). The next holder's values must not go through them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["DriverState", "copied"]


class DriverState(NamedTuple):
    """A copy of it. While it is equal to the connection's own two dicts nothing was changed.

    To compare the two dicts of about 30 entries takes a third of a microsecond each, as Python
    looks at each entry's identity first. Neither the dict's identity nor its length would tell that
    an entry was replaced.
    """

    attributes: dict[str, Any]
    converter: dict[Any, Any]

    @classmethod
    def of(cls, connection: Any) -> DriverState:
        return cls(copied(vars(connection)), copied(connection.converter))

    def put_on(self, connection: Any) -> None:
        """Bring the connection into this state. Whoever is interrupted here has to discard it."""
        # Copied first: in the midst of it, as a signal handler may find it, there are few steps.
        attributes, converter = copied(self.attributes), copied(self.converter)
        vars(connection).clear()
        vars(connection).update(attributes)
        connection.converter.clear()
        connection.converter.update(converter)


def copied(value: Any) -> Any:
    """A copy of dicts, lists and tuples all the way down; what they hold is shared."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    if type(value) is tuple:
        return tuple(copied(item) for item in value)
    return value
