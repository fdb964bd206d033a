"""A caller of the API, by token."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client

from tasks_app.services.api_tokens import add_token


class Caller:
    """A client that knows nothing but a token."""

    def __init__(self, user: User) -> None:
        self.user = user
        _, self.token = add_token(user, actor=user, name="test", days=None)
        self.client = Client(headers={"authorization": f"Bearer {self.token}"})

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(f"/api/v1{path}", query)

    def delete(self, path: str) -> Any:
        return self.client.delete(f"/api/v1{path}")

    def post(self, path: str, body: Any, **headers: str) -> Any:
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        return self.client.post(
            f"/api/v1{path}", text, content_type="application/json", headers=headers or None
        )


@pytest.fixture(autouse=True)
def _no_earlier_counts():
    """Refused tokens are counted in the cache."""
    cache.clear()


@pytest.fixture
def calling():
    return Caller


def error_of(answer: Any) -> tuple[int, str]:
    """Status and code of a refusal."""
    assert answer["Content-Type"] == "application/json"
    return answer.status_code, answer.json()["error"]["code"]
