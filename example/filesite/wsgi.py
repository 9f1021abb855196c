"""The WSGI application, for any WSGI server: ``filesite.wsgi:application``."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "filesite.settings")

application = get_wsgi_application()
