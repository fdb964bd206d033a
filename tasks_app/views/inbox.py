"""A person's inbox: what the portal has told them."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from tasks_app.models import Notice
from tasks_app.services.notices import mark_read
from tasks_app.views.requests import UserRequest

SHOWN = 100
"""The newest; older ones are only history."""


@require_GET
@login_required
def inbox(request: UserRequest) -> HttpResponse:
    """Newest first, unread ones marked."""
    notices = list(Notice.objects.filter(user=request.user)[: SHOWN + 1])
    context = {
        "notices": notices[:SHOWN],
        "is_cut": len(notices) > SHOWN,
        "limit": SHOWN,
        "has_unread": any(notice.read_at is None for notice in notices),
    }
    return render(request, "inbox/inbox.html", context)


@require_POST
@login_required
def read_all(request: UserRequest) -> HttpResponse:
    mark_read(request.user)
    return redirect("portal:inbox")


@require_POST
@login_required
def read(request: UserRequest, notice_id: int) -> HttpResponse:
    """Mark one as read and open what it is about."""
    notice = get_object_or_404(Notice.objects.filter(user=request.user), pk=notice_id)
    mark_read(request.user, pk=notice.pk)
    is_ours = url_has_allowed_host_and_scheme(notice.path, allowed_hosts=None)
    return redirect(notice.path if notice.path and is_ours else "portal:inbox")
