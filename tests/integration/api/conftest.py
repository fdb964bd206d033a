"""The real web server on the test database, and people with tokens."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from websockets.sync.client import ClientConnection, connect

from portal.asgi import Application
from tasks_app.services.api_tokens import add_token
from tests.integration.live.server import Running, running_server


@pytest.fixture(autouse=True)
def _no_earlier_counts():
    cache.clear()


@pytest.fixture
def web(transactional_db):
    """A running web server on the test database."""
    with running_server() as running:
        yield running


@pytest.fixture
def quick_web(transactional_db):
    """The same, reading sessions, tokens and roles again every 0.3 s instead of every 20 s."""
    with running_server(Application(recheck_seconds=0.3)) as running:
        yield running


def token_of(user: User) -> str:
    return add_token(user, actor=user, name="test", days=None)[1]


@dataclass
class Socket:
    """An open socket; use it as a context."""

    connection: ClientConnection
    opening: connect

    def __enter__(self) -> "Socket":
        return self

    def __exit__(self, *_: object) -> None:
        self.opening.__exit__(None, None, None)

    def next(self, seconds: float = 5.0) -> dict[str, Any]:
        return json.loads(self.connection.recv(timeout=seconds))

    def until(self, condition: Any, seconds: float = 5.0) -> dict[str, Any]:
        """The first object for which `condition` holds."""
        while not condition(found := self.next(seconds)):
            pass
        return found


def open_socket(web: Running, task_id: str, token: str = "", **options: Any) -> Socket:
    headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
    address = f"ws://127.0.0.1:{web.port}/ws/tasks/{task_id}"
    options.setdefault("ping_interval", None)
    opening = connect(address, additional_headers=headers, proxy=None, **options)
    return Socket(opening.__enter__(), opening)
