"""Addresses of the portal's pages."""

from django.urls import URLPattern, URLResolver, path

from tasks_app.views import looks

app_name = "portal"
urlpatterns: list[URLPattern | URLResolver] = [
    path("look", looks.look, name="look"),
]
