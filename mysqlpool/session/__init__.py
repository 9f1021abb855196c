"""A connection of the driver that knows its own state."""
