"""The tests' own app: one small table."""
