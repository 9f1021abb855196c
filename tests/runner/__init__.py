"""Test cases for Django's own runner; tests/test_runner.py runs them."""
