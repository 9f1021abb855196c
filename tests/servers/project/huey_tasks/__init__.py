"""An app in which huey finds its tasks."""
