"""Where providers knock: no session, no cookie, no form; the token in the address and the signature decide."""

from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from tasks_app.services import webhooks


@csrf_exempt
@require_POST
@never_cache
def hook(request: HttpRequest, source_id: int, token: str) -> HttpResponse:
    """An event about a generation task; the answer has no body."""
    try:
        length = int(request.headers.get("Content-Length") or 0)
    except ValueError:
        return HttpResponse(status=400)
    if length > webhooks.MAX_BODY_BYTES:
        return HttpResponse(status=413)
    try:
        body = request.read(webhooks.MAX_BODY_BYTES + 1)
    except UnreadablePostError:  # the sender hung up
        return HttpResponse(status=400)
    headers = {name.lower(): value for name, value in request.headers.items()}
    return HttpResponse(status=webhooks.receive(source_id, token, headers, body))
