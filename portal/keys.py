"""Key files beside the database, made at the first start, readable by the owner only."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def read_or_make(path: Path, make: Callable[[], str]) -> str:
    """The key in `path`; made by `make` and written with mode 0600 when the file is not there yet.

    Several processes may start at once: the first complete file wins, so all read the same key.

    Raises ImproperlyConfigured when the folder cannot be used.
    """
    try:
        return _read_or_make(path, make)
    except OSError as error:
        raise ImproperlyConfigured(
            f"The data directory {path.parent} cannot be used: {error.strerror or error} ({error.filename or path}). "
            "Give the user who runs the portal a directory of its own with --data-dir or PORTAL_DATA_DIR."
        ) from error


def _read_or_make(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(make() + "\n")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="ascii").strip()
