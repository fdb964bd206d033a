"""`manage.py check` notices keys that cannot work and key files that others can read."""

from cryptography.fernet import Fernet

from tasks_app.checks import check_key_files, check_secrets_keys


def test_good_keys_pass(settings):
    settings.SECRETS_KEYS = [Fernet.generate_key().decode(), Fernet.generate_key().decode()]
    assert check_secrets_keys(None) == []


def test_a_bad_key_is_counted_and_not_shown(settings):
    settings.SECRETS_KEYS = [Fernet.generate_key().decode(), "not-a-key"]
    (error,) = check_secrets_keys(None)
    assert error.id == "portal.E001"
    assert "Key 2" in error.msg
    assert "not-a-key" not in str(error)


def test_a_key_file_that_others_can_read_is_named(settings, tmp_path):
    settings.DATA_DIR = tmp_path
    key = tmp_path / "secrets_key"
    key.write_text("x")
    key.chmod(0o600)
    assert check_key_files(None) == []
    key.chmod(0o640)
    (warning,) = check_key_files(None)
    assert warning.id == "portal.W001"
    assert str(key) in warning.msg
