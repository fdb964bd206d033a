"""A copy whose worker is killed in the middle: it is made again, once, and nothing of the first is left."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection
from django.utils.timezone import now

from tasks_app.models import Asset
from tasks_app.services.result_retention import sweep
from tasks_app.services.results import copy_asset
from tests.integration.generation.asset_server import asset_server, body, endless, one_after_another
from tests.integration.generation.test_assets import waiting
from tests.integration.live.server import wait_until
from tests.unit.services.fake_generation import MP4

_COPY = """
import sys, django
django.setup()
from tasks_app.services.results import copy_asset
copy_asset(int(sys.argv[1]))
"""


@pytest.fixture
def worker(transactional_db, tmp_path):
    """A function that starts a process which copies one asset."""
    started: list[subprocess.Popen] = []

    def start(asset: Asset) -> subprocess.Popen:
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.integration.live.process_settings",
            "PORTAL_DATA_DIR": str(settings.DATA_DIR),
            "LIVE_TEST_DATABASE": str(connection.settings_dict["NAME"]),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", _COPY, str(asset.pk)], cwd=settings.BASE_DIR, env=environment
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def parts() -> list[Path]:
    return list((Path(settings.MEDIA_ROOT) / "parts").glob("*.part"))


def test_a_killed_copy_is_made_again_and_leaves_nothing(worker):
    with asset_server() as remote:
        slow = endless(MP4, pause_seconds=0.02, head="Content-Length: 10000000\r\n")
        remote.answers["/a.mp4"] = one_after_another(slow, body(MP4))
        asset = waiting(remote)
        process = worker(asset)
        wait_until(lambda: parts() and parts()[0].stat().st_size > 100_000, 30, "the first half of the file")
        asset.refresh_from_db()
        assert asset.lease_until is not None
        copy_asset(asset.pk)  # somebody else leaves a living claim alone
        assert len(remote.requests) == 1

        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert len(parts()) == 1
        Asset.objects.filter(pk=asset.pk).update(lease_until=now() - timedelta(seconds=1))
        copy_asset(asset.pk)
        asset.refresh_from_db()
        assert (asset.state, asset.attempts) == (Asset.State.COPIED, 2)
        assert default_storage.open(asset.file.name).read() == MP4
        assert sweep(now() + timedelta(hours=2)) == 1
        assert parts() == []
        assert default_storage.exists(asset.file.name)
        default_storage.delete(asset.file.name)


def test_a_long_copy_keeps_its_claim_and_tells_how_far_it_is(worker):
    with asset_server() as remote:
        remote.answers["/a.mp4"] = endless(MP4, pause_seconds=0.02, head="Content-Length: 10000000\r\n")
        asset = waiting(remote)
        worker(asset)
        wait_until(lambda: bool(parts()), 30, "the beginning")
        asset.refresh_from_db()
        first = asset.lease_until

        def renewed() -> bool:
            asset.refresh_from_db()
            return asset.lease_until > first and asset.bytes_done > 0

        wait_until(renewed, 15, "the renewal of the claim")
    for path in parts():
        path.unlink()
