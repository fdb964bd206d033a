"""Results in a bucket: copied, served in ranges, swept and removed as on a disk. The bucket is moto's."""

import http.client
from datetime import timedelta

import boto3
import pytest
from django.core.files.storage import default_storage
from django.utils.timezone import now
from moto import mock_aws

from portal.media import media_storage
from tasks_app.models import Asset, Role
from tasks_app.services.result_retention import clean_up, sweep
from tasks_app.services.results import copy_asset
from tasks_app.sources.generation.base import Download
from tasks_app.states import State
from tests.factories import make_asset, make_generation, make_user
from tests.integration.live.server import HOST, running_server, sign_in
from tests.unit.services.fake_generation import MP4, FakeAssets

MB = 1024**2
REGION = "eu-central-1"


@pytest.fixture
def bucket(settings, tmp_path, transactional_db):
    settings.MEDIA_ROOT = tmp_path / "media"
    with mock_aws():
        made = boto3.resource("s3", REGION).create_bucket(
            Bucket="films", CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        url = f"s3://films/portal/media?region={REGION}"
        storage = media_storage(url, access_key="AKIA-test", secret_key="test-secret")
        settings.STORAGES = settings.STORAGES | {"default": storage}
        yield made


def keys(bucket) -> list[str]:
    return sorted(row.key for row in bucket.objects.all())


def copied(content: bytes = MP4) -> Asset:
    pieces = (content[first : first + MB] for first in range(0, len(content), MB))
    asset = make_asset(url="https://cdn.example/a", declared_type="video/mp4")
    copy_asset(asset.pk, client=FakeAssets(a=Download(pieces, len(content))))
    asset.refresh_from_db()
    return asset


def ask(port: int, session: str, asset: Asset, method: str = "GET", **headers: str):
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(
        method, f"/results/{asset.pk}/{asset.name}", headers={"Cookie": f"sessionid={session}"} | told
    )
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_a_copy_goes_to_the_bucket_and_leaves_nothing_on_the_disk(bucket, tmp_path):
    asset = copied(MP4 + bytes(20 * MB))  # more than two parts
    assert (asset.state, asset.size) == (Asset.State.COPIED, len(MP4) + 20 * MB)
    assert keys(bucket) == [f"portal/media/{asset.file.name}"]
    assert bucket.Object(keys(bucket)[0]).content_length == asset.size
    assert [path for path in (tmp_path / "media").rglob("*") if path.is_file()] == []


def test_ranges_are_read_from_the_bucket_piece_by_piece(bucket):
    content = MP4 + bytes(range(256)) * 4096
    asset, session = copied(content), sign_in(make_user(Role.VIEWER))
    size = len(content)
    with running_server() as web:
        answer, body = ask(web.port, session, asset)
        assert (answer.status, body == content) == (200, True)
        assert answer.headers["Content-Length"] == str(size)
        assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
        for asked, first, last in [
            ("bytes=0-0", 0, 0),
            ("bytes=1000-300000", 1000, 300_000),
            ("bytes=-7", size - 7, size - 1),
            (f"bytes={size - 1}-", size - 1, size - 1),
            ("bytes=5-99999999", 5, size - 1),
        ]:
            answer, body = ask(web.port, session, asset, Range=asked)
            assert (answer.status, body == content[first : last + 1]) == (206, True), asked
            assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
            assert answer.headers["Content-Length"] == str(last - first + 1)
        answer, body = ask(web.port, session, asset, Range=f"bytes={size}-")
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")
        answer, body = ask(web.port, session, asset, "HEAD")
        assert (answer.status, body, answer.headers["Content-Length"]) == (200, b"", str(size))
        for asked in ("bytes=0-1,5-6", "bytes=9-5", "lines=1-2", "bytes=x-", "bytes=-", "bytes"):
            assert ask(web.port, session, asset, Range=asked)[0].status == 200, asked
        assert ask(web.port, session, asset, Range="bytes=0-9", If_Range='"old"')[0].status == 200
        assert ask(web.port, session, asset, Range="bytes=0-9", If_Range=f'"{asset.sha256}"')[0].status == 206


def test_a_file_that_has_vanished_from_the_bucket(bucket):
    asset, session = copied(), sign_in(make_user(Role.VIEWER))
    with running_server() as web:
        bucket.objects.all().delete()
        assert ask(web.port, session, asset)[0].status == 404
        bucket.delete()
        assert ask(web.port, session, asset)[0].status in (404, 502)


def test_a_bucket_that_refuses_is_our_trouble_and_passes(bucket):
    bucket.delete()
    asset = copied()
    assert asset.state == Asset.State.WAITING
    assert "media storage" in asset.error
    boto3.resource("s3", REGION).create_bucket(
        Bucket="films", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    Asset.objects.update(next_attempt_at=now())
    copy_asset(asset.pk, client=FakeAssets(a=MP4))
    asset.refresh_from_db()
    assert asset.state == Asset.State.COPIED


def test_retention_and_sweep_reach_into_the_bucket(bucket):
    asset = copied()
    orphan = default_storage.save("results/orphan.mp4", default_storage.open(asset.file.name))
    assert sweep() == 0  # it may be on its way to its row
    assert sweep(now() + timedelta(hours=2)) == 1
    assert orphan not in str(keys(bucket))
    long_ago = now() - timedelta(hours=30)
    task = asset.generation.task
    type(task).objects.filter(pk=task.pk).update(ended_at=long_ago, changed_at=long_ago)
    assert clean_up(sleep=lambda seconds: None).files == 1
    assert keys(bucket) == []


def test_a_new_generation_has_nothing_there(bucket):
    make_generation(state=State.COMPLETED)
    assert sweep() == 0
