"""static/js/live.js in a real Chromium, under the portal's content security policy."""

import os
import shutil
from pathlib import Path

import django_htmx
import pytest
from django.conf import settings
from playwright.sync_api import sync_playwright

from portal.asgi import Application
from tasks_app.models import Task, TaskEvent
from tests.factories import add_log, make_superuser, make_task
from tests.integration.live.server import HOST, running_server, sign_in, wait_until

pytestmark = pytest.mark.browser
Kind = TaskEvent.Kind
HTMX = Path(django_htmx.__file__).parent / "static/django_htmx/htmx-2.min.js"
PAGE = """<!doctype html><html><head><title>page</title>
<meta name="htmx-config" content='{{"includeIndicatorStyles": false, "allowEval": false}}'>
<script src="/htmx.js" defer></script><script src="/live.js" defer></script><script src="/notes.js" defer></script>
</head><body data-live-topics="{topics}" data-live-after="{after}">
<span data-live-badge data-state="connecting" hidden></span>
<table><tbody><tr id="task-{pk}" data-state="none"><td>old</td></tr></tbody></table>
<progress max="100" data-progress="{pk}"></progress><span data-progress-text="{pk}"></span>
<div id="polled" data-poll-url="/polled"></div></body></html>"""
NOTES = """window.notes = [];
for (const name of ["log", "new", "changed", "state", "reload", "poll"]) {
  document.addEventListener(`live:${name}`, (event) => notes.push([name, event.detail]));
}"""
POLICY = b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"


class PageApplication(Application):
    """The web process with one small page in front."""

    def __init__(self) -> None:
        super().__init__()
        self.page = ""
        self.polled = 0
        self.reloads = 0

    async def __call__(self, scope, receive, send):
        path = scope.get("path", "")
        files = {"/htmx.js": HTMX, "/live.js": settings.BASE_DIR / "static/js/live.js"}
        if path in files:
            await self._answer(send, b"text/javascript", files[path].read_bytes())
        elif path == "/notes.js":
            await self._answer(send, b"text/javascript", NOTES.encode())
        elif path == "/page":
            self.reloads += 1
            await self._answer(send, b"text/html", self.page.encode())
        elif path == "/polled":
            self.polled += 1
            body = f'<div id="polled" data-poll-url="/polled">{self.polled}</div>'
            await self._answer(send, b"text/html", body.encode())
        else:
            await super().__call__(scope, receive, send)

    @staticmethod
    async def _answer(send, kind, body):
        headers = [(b"content-type", kind), (b"content-security-policy", POLICY)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def chromium():
    # Playwright's synchronous interface runs an event loop in this thread, in which Django refuses queries.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            yield browser
            browser.close()
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


class Opened:
    def __init__(self, running, page, task) -> None:
        self.running, self.page, self.task = running, page, task
        self.problems: list[str] = []
        page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    def go(self, topics="tasks,task:{pk}", after="") -> "Opened":
        topics = topics.format(pk=self.task.pk)
        self.running.application.page = PAGE.format(topics=topics, after=after, pk=self.task.pk)
        self.page.goto(f"http://{HOST}:{self.running.port}/page")
        return self

    def wait_for_state(self, state: str) -> None:
        self.page.wait_for_selector(f"[data-live-badge][data-state={state}]", timeout=15_000)

    def tell(self, kind=Kind.STATE) -> int:
        return TaskEvent.objects.create(task_id=self.task.pk, source_id=self.task.source_id, kind=kind).pk

    def wait_for(self, expression: str) -> None:
        """Until the expression holds (Playwright's own waiting needs eval, which the policy forbids)."""
        wait_until(lambda: self.page.evaluate(expression), what=expression)

    def notes(self, name: str) -> list:
        return [detail for found, detail in self.page.evaluate("notes") if found == name]

    def set_hidden(self, is_hidden: bool) -> None:
        self.page.evaluate(
            """(hidden) => {
                Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
                document.dispatchEvent(new Event("visibilitychange"));
            }""",
            is_hidden,
        )


@pytest.fixture
def opened(transactional_db, chromium):
    task = make_task()
    context = chromium.new_context()
    with running_server(PageApplication()) as running:
        session = sign_in(make_superuser())
        context.add_cookies([{"name": "sessionid", "value": session, "url": f"http://{HOST}:{running.port}"}])
        opened = Opened(running, context.new_page(), task)
        opened.tell()
        yield opened
        context.close()


def test_a_changed_row_is_replaced_in_its_table_without_a_complaint(opened):
    opened.go().wait_for_state("live")
    opened.tell()
    opened.page.wait_for_selector(f"tbody > tr#task-{opened.task.pk}[data-state=processing]")
    assert opened.page.inner_text("[data-live-badge]") == "Live"
    assert opened.page.locator("tr").count() == 1
    assert opened.problems == []


def test_progress_moves_the_bar_and_its_words(opened):
    opened.go().wait_for_state("live")
    Task.objects.filter(pk=opened.task.pk).update(percent=62)
    opened.tell(Kind.PROGRESS)
    opened.wait_for("document.querySelector('progress').value === 62")
    assert opened.page.inner_text("[data-progress-text]") == "62 %"
    Task.objects.filter(pk=opened.task.pk).update(percent=None)
    opened.tell(Kind.PROGRESS)
    opened.wait_for("!document.querySelector('progress').hasAttribute('value')")


def test_what_only_some_pages_understand_is_passed_on(opened):
    opened.go("tasks,dashboard,task:{pk}").wait_for_state("live")
    add_log(opened.task, "<b>one</b>")
    opened.tell(Kind.LOG)
    opened.tell(Kind.NEW)
    opened.wait_for("notes.some(([name]) => name === 'changed')")
    pk = opened.task.pk
    assert opened.notes("log") == [
        {"id": pk, "first": 1, "lines": ["<b>one</b>"], "kinds": ["normal"], "total": 1}
    ]
    assert opened.notes("new") == [{"id": pk}]
    assert opened.notes("changed") == [{"source": opened.task.source_id}]


def test_what_happened_before_the_script_ran_is_shown(opened):
    after = opened.tell()
    opened.tell()
    opened.go(after=after)
    opened.page.wait_for_selector("tr[data-state=processing]")


def test_a_hidden_page_holds_no_stream_and_catches_up_when_it_is_seen_again(opened):
    opened.go().wait_for_state("live")
    opened.set_hidden(True)
    wait_until(lambda: opened.running.application.hub.size == 0, what="end of the hidden page's stream")
    opened.tell()
    opened.set_hidden(False)
    opened.page.wait_for_selector("tr[data-state=processing]")


def test_it_comes_back_by_itself_after_the_server_was_away(opened):
    opened.go().wait_for_state("live")
    opened.running.stop()
    opened.wait_for_state("offline")
    assert "Offline since" in opened.page.inner_text("[data-live-badge]")
    opened.tell()
    with running_server(opened.running.application.__class__(), port=opened.running.port):
        opened.page.wait_for_selector("tr[data-state=processing]", timeout=20_000)
        opened.wait_for_state("live")


def test_without_a_stream_the_parts_are_polled(opened):
    opened.page.route("**/live/**", lambda route: route.abort())
    opened.go().wait_for_state("offline")
    opened.wait_for("Number(document.querySelector('#polled').textContent) >= 1")
    assert opened.notes("changed")[0] == {"poll": True}
    assert opened.notes("poll")


def test_a_page_that_missed_too_much_asks_for_itself_once(opened):
    opened.go(after=10**9)
    wait_until(lambda: opened.page.title() and opened.running.application.reloads == 2, what="reload")
    opened.page.wait_for_timeout(1500)
    assert opened.running.application.reloads == 2


def test_a_page_may_keep_what_somebody_is_typing(opened):
    opened.tell()
    opened.page.add_init_script("addEventListener('live:reload', (e) => e.preventDefault(), true)")
    opened.go(after=10**9)
    opened.wait_for("notes.some(([name]) => name === 'reload')")
    opened.page.wait_for_timeout(500)
    assert opened.running.application.reloads == 1


def test_a_seventh_visible_place_still_loads(opened):
    pages = [opened.page]
    opened.go().wait_for_state("live")
    for _ in range(7):
        # A new tab hides the one before it; headless Chromium has to be told.
        opened.page = pages[-1]
        opened.set_hidden(True)
        page = opened.page.context.new_page()
        page.goto(f"http://{HOST}:{opened.running.port}/page", timeout=10_000)
        page.wait_for_selector("[data-live-badge][data-state=live]", timeout=10_000)
        pages.append(page)
    assert opened.running.application.hub.size == 1
