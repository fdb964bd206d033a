"""Collected static files."""

import re
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.test import override_settings

STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": "portal.storage.StaticFiles"}}


def test_modules_import_each_other_by_names_that_change_with_their_content(tmp_path: Path) -> None:
    with override_settings(STORAGES=STORAGES, STATIC_ROOT=tmp_path):
        call_command("collectstatic", interactive=False, verbosity=0)
    (script,) = [
        path for path in (tmp_path / "js").glob("log.*.js") if re.fullmatch(r"log\.\w{12}\.js", path.name)
    ]
    imports = re.findall(r'from "\./(.+?)";', script.read_text())
    assert imports and all(re.fullmatch(r"log/\w+\.\w{12}\.js", name) for name in imports)
    assert all((tmp_path / "js" / name).exists() for name in imports)
