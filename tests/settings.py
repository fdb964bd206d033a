"""Settings of the test run: the portal's own, on a data directory that is thrown away."""

import atexit
import os
import shutil
import tempfile

if "PORTAL_DATA_DIR" not in os.environ:
    is_test_run = True
    _data_dir = tempfile.mkdtemp(prefix="portal-test-")
    atexit.register(shutil.rmtree, _data_dir, True)
    os.environ["PORTAL_DATA_DIR"] = _data_dir
    from portal.settings import *  # noqa: F403

    del os.environ["PORTAL_DATA_DIR"]
else:
    is_test_run = False  # a process that a test has started chooses its own
    from portal.settings import *  # noqa: F403

from portal.settings import DATA_DIR, DATABASES, Q_CLUSTER, STORAGES

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
if "sqlite3" in DATABASES["default"]["ENGINE"]:
    # A file, as in real life: an in-memory database shares its cache between threads and locks otherwise.
    DATABASES["default"]["TEST"] = {"NAME": DATA_DIR / "test.sqlite3"}
if is_test_run:
    # Tests read their jobs from the table; processes that tests start put theirs where the portal does.
    Q_CLUSTER.pop("redis", None)
    Q_CLUSTER["orm"] = "default"
