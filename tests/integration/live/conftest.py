"""Parts of the tests' own, so that these tests are about the stream and not about how a task looks."""

import copy
from pathlib import Path

import pytest

from portal.asgi import Application
from tests.integration.live.server import running_server


@pytest.fixture(autouse=True)
def _own_parts(settings):
    templates = copy.deepcopy(settings.TEMPLATES)
    templates[0]["DIRS"].insert(0, Path(__file__).parent / "templates")
    settings.TEMPLATES = templates


@pytest.fixture
def web(transactional_db):
    """A running web server on the test database."""
    with running_server() as running:
        yield running


@pytest.fixture
def quick_web(transactional_db):
    """The same, reading sessions and roles again every 0.3 s instead of every 20 s."""
    with running_server(Application(recheck_seconds=0.3)) as running:
        yield running
