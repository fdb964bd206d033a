"""How people get in: nobody signs up by themselves; an admin adds them and sets lost passwords."""

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.http import HttpRequest

from portal.middleware import client_ip
from tasks_app import connections


class AccountAdapter(DefaultAccountAdapter):
    """Closes sign-up, and limits attempts by the address that the audit trail names, too."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_ip(request) or "unknown"


class MFAAdapter(DefaultMFAAdapter):
    """Seals what second factors need to know before it is stored. A lost key closes the door instead of opening it."""

    def get_totp_issuer(self) -> str:
        return "Task portal"

    def encrypt(self, text: str) -> str:
        return connections.seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        return connections.unseal(encrypted_text)
