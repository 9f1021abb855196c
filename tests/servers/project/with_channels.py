"""An ASGI application with a consumer of Channels, which answers messages of a web socket."""

import json
from typing import Any

from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

# Django has been set up.
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

from . import settings
from .telling import watch
from .work import Wanted, do

in_thread = sync_to_async if settings.BARE else database_sync_to_async


class Answers(AsyncWebsocketConsumer):
    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        watch()
        kind, n = json.loads(text_data)
        try:
            answer = await in_thread(do)(kind, n)
        except Wanted:
            answer = "failed"
        await self.send(text_data=json.dumps([kind, n, answer]))


application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": URLRouter([path("answers", Answers.as_asgi())]),
    }
)
