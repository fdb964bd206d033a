"""Where results and uploads are kept, as Django's storage settings."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from portal.media import media_storage


def test_nothing_said_means_the_disk_for_the_portal_alone():
    storage = media_storage("")
    assert storage["BACKEND"] == "django.core.files.storage.FileSystemStorage"
    assert storage["OPTIONS"] == {"file_permissions_mode": 0o600, "directory_permissions_mode": 0o700}


def test_a_bucket_of_one_s_own_server():
    url = "s3://films/portal/media/?endpoint_url=https://minio.lan:9000&region=eu-central-1"
    options = media_storage(url, access_key="key", secret_key="secret")["OPTIONS"]
    assert (options["bucket_name"], options["location"]) == ("films", "portal/media")
    assert (options["endpoint_url"], options["region_name"]) == ("https://minio.lan:9000", "eu-central-1")
    assert (options["access_key"], options["secret_key"]) == ("key", "secret")
    assert options["addressing_style"] == "path"


def test_a_bucket_of_the_provider_with_its_own_credentials():
    options = media_storage("s3://films")["OPTIONS"]
    assert (options["bucket_name"], options["location"]) == ("films", "")
    assert (options["endpoint_url"], options["access_key"], options["secret_key"]) == (None, None, None)
    assert options["addressing_style"] == "auto"


def test_nothing_becomes_public_and_nothing_is_overwritten():
    options = media_storage("s3://films")["OPTIONS"]
    assert options["default_acl"] is None
    assert (options["querystring_auth"], options["file_overwrite"]) == (True, False)


@pytest.mark.parametrize(
    ("url", "keys"),
    [("s3://films", ("key", "")), ("s3://films", ("", "secret")), ("", ("key", "secret"))],
    ids=["no-secret", "no-key", "no-bucket"],
)
def test_half_a_setting_is_none_and_secrets_are_not_told(url, keys):
    with pytest.raises(ImproperlyConfigured) as caught:
        media_storage(url, access_key=keys[0], secret_key=keys[1])
    assert "PORTAL_MEDIA_" in str(caught.value)
    assert "secret" not in str(caught.value).replace("SECRET", "")
