"""Signing in and out, what people change about that themselves, and what they were refused."""

from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django.core.cache import cache

from tasks_app.audit.actions import Action
from tests.factories import PASSWORD, make_user
from tests.unit.audit.deeds import SECRET, example


def sign_in(client, password=PASSWORD):
    cache.clear()
    return client.post("/account/login/", {"login": "ann", "password": password})


def signed_in(client):
    """Signed in, and the password entered once more, as the delicate pages want it."""
    person = make_user(username="ann")
    sign_in(client)
    client.post("/account/reauthenticate/", {"password": PASSWORD})
    return person


def code_of(secret):
    return format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time()))))


@example("signin", Action.LOGIN, writer="signin._logged_in", page=True)
def log_in(client):
    make_user(username="ann")
    return lambda: sign_in(client)


@example(
    "signin", Action.LOGIN_FAILED, writer="signin._login_failed", page=True, result="refused", by="portal"
)
def fail(client):
    make_user(username="ann")
    return lambda: sign_in(client, SECRET)


@example("signin", Action.LOGOUT, writer="signin._logged_out", page=True)
def log_out(client):
    make_user(username="ann")
    sign_in(client)
    return lambda: client.post("/account/logout/")


@example("signin", Action.PERSON_PASSWORD, writer="signin._password_changed", page=True)
def change_password(client):
    signed_in(client)
    given = {"oldpassword": PASSWORD, "password1": SECRET, "password2": SECRET}
    return lambda: client.post("/account/password/change/", given)


@example(
    "signin",
    Action.PERSON_SECOND_FACTOR,
    writer="signin.note_second_factors",
    page=True,
    note="with its recovery codes",
)
def add_factor(client):
    signed_in(client)
    secret = client.get("/account/2fa/totp/activate/").context["form"].secret
    return lambda: client.post("/account/2fa/totp/activate/", {"code": code_of(secret)})


@example(
    "signin",
    Action.LOGIN_FAILED,
    writer="signin._second_factor_failed",
    page=True,
    result="refused",
    by="portal",
    note="wrong code",
)
def wrong_code(client):
    person = make_user(username="ann")
    TOTP.activate(person, generate_totp_secret())
    sign_in(client)
    return lambda: client.post("/account/2fa/authenticate/", {"code": "000000"})


@example(
    "portal.middleware",
    Action.DENIED,
    writer="portal.middleware.process_exception",
    page=True,
    result="refused",
    note="a page",
)
def deny_page(client):
    client.force_login(make_user())
    return lambda: client.post("/people/add/", {"username": "eve", "password": SECRET})


@example(
    "portal.middleware",
    Action.DENIED,
    writer="portal.middleware.process_exception",
    page=True,
    result="refused",
    note="the admin site",
)
def deny_admin(client):
    client.force_login(make_user(is_staff=True))
    return lambda: client.get("/admin/tasks_app/task/")
