"""What `manage.py check` says about secrets: every key opens, and no stranger on the host reads the key files."""

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

KEY_FILES = ("secrets_key", "secret_key")


@register(Tags.security)
def check_secrets_keys(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """A key that is none would be noticed only when the first token is sealed."""
    for number, key in enumerate(settings.SECRETS_KEYS, 1):
        try:
            Fernet(key)
        except (ValueError, TypeError):
            hint = "Make one: python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
            return [
                Error(f"Key {number} of PORTAL_SECRETS_KEYS is no Fernet key.", hint=hint, id="portal.E001")
            ]
    return []


@register(Tags.security)
def check_key_files(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """They are made with mode 0600; a copy or a restored backup may have lost that."""
    return [
        Warning(f"{path} can be read by others on this host.", hint=f"chmod 600 {path}", id="portal.W001")
        for path in (Path(settings.DATA_DIR) / name for name in KEY_FILES)
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
