"""Submitting videos, images and workflows: the bodies of the task API's guide, and which source is meant."""

from typing import Any

from django.http import HttpResponse, JsonResponse
from django.urls import reverse
from ninja import Router

from tasks_app.api.auth import ApiRequest
from tasks_app.api.bodies import idempotency_key, picture_body_limit, read_json, read_picture
from tasks_app.api.choices import choose_offer, choose_team, teams_at
from tasks_app.api.errors import invalid
from tasks_app.api.schemas import Accepted, ErrorBody
from tasks_app.live.shapes import status_of
from tasks_app.services.generations import submit_generation
from tasks_app.sources.generation.base import Offer, OfferKind, Upload

router = Router(tags=["Submit"])

# What is read here; every other name of a body is a parameter of the offer.
_OWN = frozenset({"source", "team", "offer", "minutes"})
_ANSWERS = {
    200: Accepted,
    401: ErrorBody,
    403: ErrorBody,
    409: ErrorBody,
    413: ErrorBody,
    422: ErrorBody,
}
KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 64},
    "description": "The same key gives the first task again, however often it is sent",
}
_COMMON: dict[str, Any] = {
    "source": {"type": "string", "description": "Name of a source; needed when several could make it"},
    "offer": {"type": "string", "description": "What the source shall make it with, where it offers several"},
    "team": {"type": "string", "description": "Short name of the team that asks, when you are in several"},
    "minutes": {"type": "integer", "description": "Ask for a cancel when it has not ended after so many"},
    "prompt": {"type": "string"},
}
_PICTURE = {"type": "string", "description": "base64 or a data URL; the portal fetches no addresses"}
_VIDEO = _COMMON | {
    "image": _PICTURE,
    "duration": {"type": "number", "description": "seconds"},
    "fps": {"type": "integer"},
    "resolution": {"type": "string", "example": "1920x1080"},
    "motion_strength": {"type": "number"},
    "camera_motion": {"type": "string"},
    "optimize_prompt": {"type": "boolean"},
}


def _described(properties: dict[str, Any]) -> dict[str, Any]:
    """The body for the description; which names count is for the offer to say."""
    schema = {"type": "object", "properties": properties, "additionalProperties": True}
    return {
        "parameters": [KEY_HEADER],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
    }


@router.post(
    "/videos/generate",
    response=_ANSWERS,
    operation_id="generate_video",
    summary="Make a video",
    description="Answers at once with the id to ask about. What else the offer takes is sent beside these names.",
    openapi_extra=_described(_VIDEO),
)
def generate_video(request: ApiRequest) -> HttpResponse:
    return _generate(request, "video")


@router.post(
    "/images/generate",
    response=_ANSWERS,
    operation_id="generate_image",
    summary="Make an image",
    description="As for videos; the result has an `image_url`.",
    openapi_extra=_described(_COMMON | {"image": _PICTURE, "size": {"type": "string"}}),
)
def generate_image(request: ApiRequest) -> HttpResponse:
    return _generate(request, "image")


@router.post(
    "/workflow/generate",
    response=_ANSWERS,
    operation_id="generate_workflow",
    summary="Run a workflow",
    description="As for videos; a workflow's own names stand beside these.",
    openapi_extra=_described(_COMMON | {"script": {"type": "string"}}),
)
def generate_workflow(request: ApiRequest) -> HttpResponse:
    return _generate(request, "workflow")


def _generate(request: ApiRequest, kind: OfferKind) -> HttpResponse:
    """Raises ApiError, and what the service raises."""
    body = read_json(request, picture_body_limit())
    source, offer = choose_offer(
        request.user, kind, source=body.get("source"), offer=body.get("offer"), model=body.get("model")
    )
    teams, is_needed = teams_at(request.user, source)
    team = choose_team(teams, body.get("team"), is_needed=is_needed)
    given = {name: value for name, value in body.items() if name not in _OWN}
    task = submit_generation(
        source,
        actor=request.user,
        offer=offer.key,
        parameters={name: value for name, value in given.items() if name not in _pictures(offer)},
        uploads=_uploads(offer, given),
        team=team,
        idempotency_key=idempotency_key(request),
        minutes=_minutes(body.get("minutes")),
    )
    return accepted(request, task.api_id, "Task submitted. Ask for its status.", status=task.state)


def accepted(request: ApiRequest, task_id: str, message: str, *, status: str = "pending") -> HttpResponse:
    """200 as the guide has it, and where to ask."""
    answer = JsonResponse({"task_id": task_id, "status": status_of(status), "message": message})
    answer["Location"] = request.build_absolute_uri(reverse("api:get_task", args=[task_id]))
    return answer


def _pictures(offer: Offer) -> list[str]:
    return [parameter.name for parameter in offer.parameters if parameter.type == "image"]


def _uploads(offer: Offer, given: dict[str, Any]) -> dict[str, Upload]:
    """Pictures by parameter. `image` of the guide is the only picture of an offer, whatever that calls it."""
    names = _pictures(offer)
    if len(names) == 1 and "image" in given and names[0] not in given:
        return {names[0]: read_picture("image", given["image"])} if given["image"] else {}
    return {name: read_picture(name, given[name]) for name in names if given.get(name) not in (None, "")}


def _minutes(given: Any) -> int | None:
    if given is None or (isinstance(given, int) and not isinstance(given, bool)):
        return given
    raise invalid(minutes="This is a whole number.")
