"""Integrations with other packages, each of which needs its own extra."""
