"""What the library logs: by fixed logger names, and into one file for all processes."""
