"""The command ``manage.py mysqlpool``: each subcommand is a module here, the frame is Django's."""
