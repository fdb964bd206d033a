"""A database that is thrown away, and how long queries take in it."""

import contextlib
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.portals import clean_environ


@contextlib.contextmanager
def throw_away_database() -> Iterator[str]:
    """Django set up on an empty database, in SQLite or on the server of PORTAL_DATABASE_URL; which one it is.

    Once in a process.
    """
    data_dir = Path(tempfile.mkdtemp(prefix="portal-bench-"))
    server = os.environ.get("PORTAL_DATABASE_URL", "")
    name = f"bench_{uuid.uuid4().hex}"
    environ = clean_environ(data_dir)
    try:
        if server:
            _on_server(server, f"CREATE DATABASE {name}")
            environ["PORTAL_DATABASE_URL"] = re.sub(r"/[^/]*$", f"/{name}", server)
        os.environ.clear()
        os.environ.update(environ, DJANGO_SETTINGS_MODULE="portal.settings")
        import django
        from django.core.management import call_command
        from django.db import connection

        django.setup()
        call_command("migrate", verbosity=0, skip_checks=True)
        call_command("collectstatic", interactive=False, verbosity=0, skip_checks=True)
        yield connection.display_name
        connection.close()
    finally:
        if server:
            _on_server(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        shutil.rmtree(data_dir, ignore_errors=True)


def _on_server(url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as server:
        server.execute(statement.encode())


class Stopwatch:
    """Time and number of queries, with the reading of all their rows, between `with` and its end; in milliseconds."""

    def __init__(self) -> None:
        self.milliseconds = 0.0
        self.processor = 0.0  # of our own process; SQLite's work is in it, a server's is not
        self.queries = 0
        self.slow: list[tuple[float, str]] = []

    def __enter__(self) -> "Stopwatch":
        from django.db import connection
        from django.db.backends.utils import CursorWrapper

        watch = self

        class Timed(CursorWrapper):
            def execute(self, sql: Any, params: Any = None) -> Any:
                watch.queries += 1
                self.sql = str(sql)
                return self._timed(super().execute, sql, params)

            def __getattr__(self, name: str) -> Any:
                found = super().__getattr__(name)
                if not name.startswith("fetch"):
                    return found
                return lambda *args: self._timed(found, *args)

            def __iter__(self) -> Any:
                yield from self._timed(lambda: list(self.cursor))

            def _timed(self, call: Any, *args: Any) -> Any:
                began, spent = time.perf_counter(), time.thread_time()
                try:
                    return call(*args)
                finally:
                    took = (time.perf_counter() - began) * 1000
                    watch.milliseconds += took
                    watch.processor += (time.thread_time() - spent) * 1000
                    watch.slow.append((took, self.sql))

        self._connection = connection
        connection.make_cursor = lambda cursor: Timed(cursor, connection)
        return self

    def __exit__(self, *_: object) -> None:
        del self._connection.make_cursor
