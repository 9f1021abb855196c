"""A small site with django-debug-toolbar, in a process of its own for each kind of settings.

The toolbar patches Django as it is set up, and wrappers of connections as it serves. So it is never
installed in the process of the tests.
"""
