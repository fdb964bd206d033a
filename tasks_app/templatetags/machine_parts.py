"""Tags of the pages about machines."""

from datetime import datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime, now

register = template.Library()


@register.simple_tag
def day(at: datetime | None) -> SafeString | str:
    """A time that may lie ahead: `14 Nov` with the year when it is another; the minute and zone on hover."""
    if at is None:
        return "–"
    local = localtime(at)
    words = f"{local:%d %b}" if local.year == localtime(now()).year else f"{local:%d %b %Y}"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', at.isoformat(), f"{local:%Y-%m-%d %H:%M %Z}", words
    )
