"""The plainest client possible: sees reason phrases, double headers and dropped connections as they are."""

import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPSConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from demo.proxmox import DemoCluster


@dataclass(frozen=True)
class Answer:
    status: int
    reason: str
    headers: list[tuple[str, str]]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text) if self.text else ""

    @property
    def data(self) -> Any:
        return self.body["data"]


class Client:
    """One identity; every request on a connection of its own."""

    def __init__(self, cluster: DemoCluster, token: tuple[str, str] | None = None) -> None:
        self.cluster = cluster
        self.headers: dict[str, str] = {}
        if token:
            self.headers["Authorization"] = f"PVEAPIToken={token[0]}={token[1]}"

    def ask(
        self,
        method: str,
        path: str,
        form: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        sent = self.headers | (headers or {})
        if method in ("POST", "PUT") and body is None:
            body = urlencode(form or {}).encode()
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        parts = urlsplit(self.cluster.url)
        connection = HTTPSConnection(
            parts.hostname or "", parts.port, context=ssl._create_unverified_context(), timeout=20
        )
        try:
            full = path if path.startswith(("/api2", "/demo")) else f"/api2/json{path}"
            connection.request(method, full, body=body, headers=sent)
            response = connection.getresponse()
            content = response.read().decode("utf-8", "replace")
            return Answer(response.status, response.reason, response.getheaders(), content)
        finally:
            connection.close()

    def get(self, path: str, **query: object) -> Answer:
        return self.ask("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, **form: object) -> Answer:
        return self.ask("POST", path, form)

    def login(self, user: str, password: str) -> "Client":
        answer = self.post("/access/ticket", username=user, password=password)
        assert answer.status == 200, answer.reason
        self.headers = {
            "Cookie": f"PVEAuthCookie={quote(answer.data['ticket'], safe='')}",
            "CSRFPreventionToken": answer.data["CSRFPreventionToken"],
        }
        return self

    # tasks

    def status(self, upid: str) -> dict[str, Any]:
        return self.get(f"/nodes/{upid.split(':')[1]}/tasks/{quote(upid, safe='')}/status").data

    def log(self, upid: str, **query: object) -> Any:
        return self.get(f"/nodes/{upid.split(':')[1]}/tasks/{quote(upid, safe='')}/log", **query).body

    def texts(self, upid: str) -> list[str]:
        return [line["t"] for line in self.log(upid, limit=0)["data"]]

    def stop(self, upid: str) -> Answer:
        return self.ask("DELETE", f"/nodes/{upid.split(':')[1]}/tasks/{quote(upid, safe='')}")

    def wait(self, upid: str, seconds: float = 10.0) -> str:
        """The exit status, once there is one."""
        return wait_until(lambda: self.status(upid).get("exitstatus"), seconds)


def wait_until(look: Callable[[], Any], seconds: float = 10.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def portal(cluster: DemoCluster) -> Client:
    return Client(cluster, (cluster.token_id, cluster.token_secret))
