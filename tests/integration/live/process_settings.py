"""Settings of a web process that a test starts: on the database and with the parts of that test."""

import os
from pathlib import Path

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, TEMPLATES

DATABASES["default"]["NAME"] = os.environ["LIVE_TEST_DATABASE"]
TEMPLATES[0]["DIRS"].insert(0, Path(__file__).parent / "templates")  # type: ignore[attr-defined]
