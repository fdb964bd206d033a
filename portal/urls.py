"""Root addresses."""

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView, TemplateView

from tasks_app.api.application import api
from tasks_app.api.docs import api_docs

_closed = TemplateView.as_view(template_name="account/signup_closed.html", http_method_names=["get"])


@require_safe
def admin_sign_in(request: HttpRequest) -> HttpResponse:
    """Django's admin signs nobody in: its own form asks for no second factor and does not slow down guessing."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.GET.get("next", "/admin/"))
    if not request.user.is_staff:
        raise PermissionDenied
    return redirect("admin:index")


urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/login/", admin_sign_in),
    path("admin/password_change/", RedirectView.as_view(pattern_name="account_change_password")),
    path("admin/", admin.site.urls),
    # the portal sends no mail: admins set lost passwords, and addresses are changed on the people page
    re_path(r"^account/(?:password/reset|email|confirm-email|login/code)/", _closed),
    path("account/", include("allauth.account.urls")),
    path("account/2fa/", include("allauth.mfa.urls")),
    path("api/v1/docs", api_docs, name="api-docs"),
    path("api/v1/", api.urls),
    path("", include("tasks_app.urls")),
]
