"""Calls of the Proxmox API by token: authentication, the envelope, and the memory of a refused token."""

import hashlib
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks_app.sources.errors import SourceNeedsPerson
from tasks_app.sources.http import Answer, HttpClient
from tasks_app.sources.proxmox.answers import parse_envelope
from tasks_app.sources.proxmox.connection import Connection

logger = logging.getLogger(__name__)

UNAUTHORIZED_SECONDS = 60.0
"""How long a refused token is not tried again: each refusal costs the server 3 s of a worker."""

_refusals: dict[str, tuple[float, str, str]] = {}
_refusals_lock = threading.Lock()


class ProxmoxApi:
    """GET, POST, PUT and DELETE below `/api2/json` for one connection."""

    def __init__(self, connection: Connection) -> None:
        self._secret = connection.token_secret
        token = f"PVEAPIToken={connection.token_id}={connection.token_secret}"
        self._client = HttpClient(connection.urls, trust=connection.trust, headers={"Authorization": token})
        key = "\n".join((*connection.urls, token))
        self._refusal_key = hashlib.sha256(key.encode()).hexdigest()
        self.clock_skew_seconds: float | None = None
        self.latency_seconds: float | None = None

    def __repr__(self) -> str:
        return f"ProxmoxApi({self._client.address})"

    @property
    def address(self) -> str:
        return self._client.address

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        """The `data` of the answer."""
        return self.get_envelope(path, params)["data"]

    def get_envelope(self, path: str, params: Mapping[str, str | int] | None = None) -> dict[str, Any]:
        """The whole answer, where something stands beside `data` (`total`)."""
        return self._call("GET", path, params=params)

    def write(
        self,
        method: str,
        path: str,
        data: Mapping[str, str | int] | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
        read_seconds: float | None = None,
    ) -> Any:
        """The `data` of a POST, PUT or DELETE; never repeated once it may have been sent.

        DELETE takes `params` in the query string, not `data`.
        """
        return self._call(method, path, params=params, data=data, read_seconds=read_seconds)["data"]

    def forget_refusal(self) -> None:
        """Try a refused token again at once: a person says that it was repaired."""
        with _refusals_lock:
            _refusals.pop(self._refusal_key, None)

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._client.request(method, "/api2/json" + path, before=self._raise_remembered, **options)
        self.latency_seconds = answer.elapsed_seconds
        self.clock_skew_seconds = answer.clock_skew_seconds
        try:
            return parse_envelope(self._without_secret(answer), is_read=method == "GET")
        except SourceNeedsPerson as error:
            if error.status == 401:
                self._remember(error)
            raise

    def _without_secret(self, answer: Answer) -> Answer:
        """A remote that echoes our secret must not get it into a message."""
        if self._secret not in answer.reason and self._secret.encode() not in answer.body:
            return answer
        return replace(
            answer,
            body=answer.body.replace(self._secret.encode(), b"***"),
            reason=answer.reason.replace(self._secret, "***"),
        )

    def _remember(self, error: SourceNeedsPerson) -> None:
        now = time.monotonic()
        with _refusals_lock:
            for key in [k for k, (until, _, _) in _refusals.items() if until < now]:
                del _refusals[key]
            _refusals[self._refusal_key] = (now + UNAUTHORIZED_SECONDS, str(error), error.kind)

    def _raise_remembered(self) -> None:
        with _refusals_lock:
            until, message, kind = _refusals.get(self._refusal_key, (0.0, "", ""))
        if time.monotonic() < until:
            raise SourceNeedsPerson(message, kind=kind, status=401)
