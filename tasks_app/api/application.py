"""The portal's own task API: its routes, its door, and how its errors are answered."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from tasks_app.api import clones, generate, tasks
from tasks_app.api.auth import BasicToken, BearerToken, Session, not_authenticated
from tasks_app.api.errors import ApiError, answer, invalid, of_status

api = NinjaAPI(
    title="Task portal",
    version="1",
    description="Submit, follow and cancel tasks: videos and images, and everything that Proxmox clusters do.",
    docs_url=None,
    openapi_url="/openapi.json",
    urls_namespace="api",
    auth=[BearerToken(), BasicToken(), Session()],
)
api.add_router("", tasks.router)
api.add_router("", generate.router)
api.add_router("", clones.router)


@api.exception_handler(ApiError)
def _api_error(request: HttpRequest, error: ApiError) -> HttpResponse:
    return answer(error)


@api.exception_handler(AuthenticationError)
def _unknown_person(request: HttpRequest, error: Any) -> HttpResponse:
    return answer(not_authenticated())


@api.exception_handler(HttpError)
def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    return answer(of_status(error.status_code))


@api.exception_handler(ValidationError)
def _wrong_input(request: HttpRequest, error: ValidationError) -> HttpResponse:
    fields = {str(each["loc"][-1]): _sentence(str(each["msg"])) for each in error.errors}
    return answer(invalid(**fields))


@api.exception_handler(Exception)
def _anything_else(request: HttpRequest, error: Exception) -> HttpResponse:
    """Refusals of services and our own faults are answered by the middleware, as everywhere."""
    raise error


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
