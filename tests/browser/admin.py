"""What the browser tests of sources, guests and the first start share."""

from collections.abc import Iterator
from contextlib import contextmanager

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tasks_app import connections
from tasks_app.models import Source
from tasks_app.polling.memory import Memory
from tasks_app.polling.passes import run_pass
from tasks_app.polling.visit import Visit
from tests.integration.live.server import HOST, Running


@contextmanager
def anonymous_page(chromium: Browser, web: Running, path: str) -> Iterator[Page]:
    """A page of somebody who is not signed in; scripts that throw and policies that stop them fail the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(10_000)
    page = context.new_page()
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on(
        "console",
        lambda message: troubles.append(message.text) if "Content Security Policy" in message.text else None,
    )
    page.goto(f"http://{HOST}:{web.port}{path}")
    yield page
    context.close()
    assert not troubles


def visit(source: Source) -> None:
    """What the watch loop does once a second."""
    source.refresh_from_db()
    run_pass(Visit(source, connections.client_of(source), Memory()))


def serious_findings(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{item['id']}: {item['nodes'][0]['html'][:200]}"
        for item in found
        if item["impact"] in ("serious", "critical")
    ]


def overflows(page: Page) -> bool:
    """Whether the page as a whole scrolls sideways."""
    page.wait_for_load_state("load")  # without its styles every page is too wide
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
