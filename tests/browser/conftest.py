"""The portal in a real Chromium: a web server with live stream on loopback, and signed-in pages."""

import mimetypes
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from playwright.sync_api import Browser, Page, sync_playwright

from portal.asgi import Application
from tests.integration.live.server import HOST, Running, running_server, sign_in

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
Open = Callable[..., Page]


class PortalWithFiles(Application):
    """The web process; static files come from where they are written, as nothing is collected for a test."""

    async def __call__(self, scope, receive, send):
        path = scope.get("path", "")
        if not path.startswith("/static/"):
            await super().__call__(scope, receive, send)
            return
        found = finders.find(path.removeprefix("/static/"))
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        headers = [(b"content-type", kind.encode())]
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": Path(str(found)).read_bytes() if found else b""})


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The machine's Chromium, else Playwright's own."""
    # Playwright's synchronous interface runs an event loop in this thread, in which Django refuses queries.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        with sync_playwright() as playwright:
            path = (
                shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
            )
            browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
            yield browser
            browser.close()
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def web(transactional_db) -> Iterator[Running]:
    with running_server(PortalWithFiles()) as running:
        yield running


@pytest.fixture
def open_page(chromium: Browser, web: Running) -> Iterator[Open]:
    """`open_page(user, path, width=…, dark=…, script=…)`: the page as `user` sees it.

    Whatever a script throws, and whatever the content security policy stops, fails the test at its end.
    """
    contexts, troubles = [], []

    def open_as(
        user: User,
        path: str,
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        script: bool = True,
    ) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            has_touch=width < 500,
            java_script_enabled=script,
        )
        contexts.append(context)
        base = f"http://{HOST}:{web.port}"
        context.add_cookies([{"name": "sessionid", "value": sign_in(user), "url": base}])
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "console",
            lambda message: (
                troubles.append(message.text) if "Content Security Policy" in message.text else None
            ),
        )
        page.goto(base + path)
        return page

    yield open_as
    for context in contexts:
        context.close()
    assert not troubles
