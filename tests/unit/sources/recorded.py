"""Recorded answers of Proxmox VE as the client sees them."""

import json
from pathlib import Path
from typing import Any

from tasks_app.sources.http import Answer

FOLDER = Path(__file__).parents[2] / "data" / "recorded" / "pve"


def load_pair(number: int) -> dict[str, Any]:
    """The pair whose file name starts with `number`."""
    (path,) = FOLDER.glob(f"{number:03d}-*.json")
    return json.loads(path.read_text())


def load_body(number: int) -> Any:
    return load_pair(number)["response"]["body"]


def load_answer(number: int, *, skew: float | None = 0.0) -> Answer:
    response = load_pair(number)["response"]
    body = response["body"]
    return make_answer(
        response["status"],
        body if isinstance(body, str) else json.dumps(body),
        reason=response["reason"],
        headers={name.lower(): value for name, value in response["headers"]},
        skew=skew,
    )


def make_answer(
    status: int,
    body: str | bytes = "",
    *,
    reason: str = "",
    headers: dict[str, str] | None = None,
    skew: float | None = 0.0,
) -> Answer:
    raw = body.encode() if isinstance(body, str) else body
    return Answer(status, reason, headers or {}, raw, "https://pve1:8006", 0.01, skew)
