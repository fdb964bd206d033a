"""How people get in: nobody signs up by themselves; an admin adds them."""

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Closes sign-up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False
