"""Theme and density."""

import pytest
from django.test import Client

from tests.factories import make_user

pytestmark = pytest.mark.django_db


def test_choice_is_kept_and_leads_back_to_the_page(client: Client) -> None:
    answer = client.post(
        "/look", {"theme": "dark"}, headers={"referer": "http://testserver/tasks/?state=failed"}
    )
    assert answer["Location"] == "http://testserver/tasks/?state=failed"
    assert client.cookies["theme"].value == "dark"
    assert "density" not in client.cookies


def test_nobody_is_led_to_another_site(client: Client) -> None:
    answer = client.post("/look", {"theme": "dark"}, headers={"referer": "https://elsewhere.example/"})
    assert answer["Location"] == "/"


def test_unknown_looks_are_not_kept(client: Client) -> None:
    client.post("/look", {"theme": "neon", "density": "compact"})
    assert "theme" not in client.cookies


def test_page_that_is_not_there_keeps_the_frame_and_the_looks(client: Client) -> None:
    client.force_login(make_user())
    client.cookies["theme"] = "dark"
    answer = client.get("/nothing/here/")
    assert answer.status_code == 404
    assert 'data-theme="dark"' in answer.text
    assert "Not here" in answer.text
