"""Root addresses."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import TemplateView

_closed = TemplateView.as_view(template_name="account/signup_closed.html", http_method_names=["get"])

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    # the portal sends no mail: admins set lost passwords, and addresses are changed on the people page
    re_path(r"^account/(?:password/reset|email|confirm-email|login/code)/", _closed),
    path("account/", include("allauth.account.urls")),
    path("account/2fa/", include("allauth.mfa.urls")),
    path("", include("tasks_app.urls")),
]
