"""A person's own profile: SSH keys for machines, API tokens, and the ways to password and second factor."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from tasks_app.errors import InvalidInput
from tasks_app.forms.profile import ProfileForm
from tasks_app.forms.refusals import show_refusal
from tasks_app.models import Profile, Team
from tasks_app.services.profiles import save_profile
from tasks_app.views.api_tokens import tokens_of
from tasks_app.views.requests import UserRequest, sent


@require_http_methods(["GET", "POST"])
@login_required
def profile(request: UserRequest) -> HttpResponse:
    known = Profile.objects.filter(user=request.user).first()
    form = ProfileForm(sent(request), initial={"ssh_keys": known.ssh_keys if known else ""})
    if request.method == "POST" and form.is_valid():
        try:
            save_profile(request.user, actor=request.user, ssh_keys=form.cleaned_data["ssh_keys"])
        except InvalidInput as error:
            show_refusal(form, error)
        else:
            messages.success(request, "Saved.")
            return redirect("portal:profile")
    teams = Team.objects.of(request.user).select_related("group")
    context = {"form": form, "teams": teams} | tokens_of(request.user)
    return render(request, "profile/profile.html", context, status=422 if form.errors else 200)
