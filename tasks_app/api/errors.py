"""How the API says no: `{"error": {"code": …, "message": …}}` with a status, for everything below /api/."""

import re
from http import HTTPStatus
from typing import Any

from django.http import JsonResponse

from tasks_app.errors import InvalidInput, PrivilegeMissing, Refused

CODES = {
    400: "BAD_REQUEST",
    401: "NOT_AUTHENTICATED",
    403: "NOT_PERMITTED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT",
    413: "TOO_LARGE",
    422: "VALIDATION_ERROR",
    429: "TOO_MANY_REQUESTS",
}


class ApiError(Exception):
    """A refusal of the API itself. `fields` maps a field of the input to a sentence."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        fields: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.fields, self.headers = status, code, fields, headers or {}


def invalid(**fields: str) -> ApiError:
    """422 that names the fields."""
    return ApiError(422, "VALIDATION_ERROR", " ".join(fields.values()), fields=fields)


def no_task(task_id: str) -> ApiError:
    """404, also for what the person may not see: they cannot tell the difference."""
    return ApiError(404, "TASK_NOT_FOUND", f"Task {task_id[:200]} not found")


def expired(task_id: str) -> ApiError:
    return ApiError(
        404, "TASK_EXPIRED", f"Task expired: the result of {task_id[:200]} was removed after its time"
    )


def answer(error: ApiError) -> JsonResponse:
    body: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.fields is not None:
        body["fields"] = error.fields
    return JsonResponse({"error": body}, status=error.status, headers=error.headers)


def of_refusal(refusal: Refused) -> ApiError:
    """A refusal of a service with the same status; its code is the name of its class: SOURCE_PAUSED."""
    if isinstance(refusal, InvalidInput):
        return ApiError(refusal.status, "VALIDATION_ERROR", str(refusal), fields=refusal.fields)
    name = type(refusal).__name__
    code = "REFUSED" if name == "Refused" else re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()
    message = str(refusal)
    if isinstance(refusal, PrivilegeMissing) and refusal.privilege not in message:
        message = f"{message} It lacks {refusal.privilege} on {refusal.path}."
    return ApiError(refusal.status, code, message)


def of_status(status: int) -> ApiError:
    """For an answer that was made outside the API's own code, for example an unknown address."""
    try:
        words = HTTPStatus(status).phrase
    except ValueError:
        words = "Error"
    return ApiError(status, CODES.get(status, "SERVER_ERROR" if status >= 500 else "HTTP_ERROR"), words)
