"""What every page's frame needs: the person's choices of looks."""

from django.http import HttpRequest

THEMES = ("auto", "light", "dark")
DENSITIES = ("default", "compact")


def page(request: HttpRequest) -> dict[str, str]:
    """Theme and density come from cookies, so that the first paint is right without a script."""
    theme = request.COOKIES.get("theme", "auto")
    density = request.COOKIES.get("density", "default")
    return {
        "theme": theme if theme in THEMES else "auto",
        "density": density if density in DENSITIES else "default",
    }
