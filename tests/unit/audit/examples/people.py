"""People, their roles, tokens, profiles and teams; whose Proxmox identities are; settings of the portal."""

from allauth.mfa.models import Authenticator
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.cache import cache

from tasks_app.audit.actions import Action
from tasks_app.models import Grant, KnownIdentity, Role
from tasks_app.services import api_tokens, identities, people, profiles, setup, teams, time_limits
from tests.factories import make_item, make_source, make_superuser, make_team, make_user
from tests.unit.audit.deeds import SECRET, example

_KEY = ed25519.Ed25519PrivateKey.generate().public_key()
PUBLIC_KEY = _KEY.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@example("services.setup.set_up_admin", Action.PERSON_SETUP)
def set_up():
    link = setup.make_setup_link()
    token = link.split("/")[2]
    return lambda: setup.set_up_admin(token, username="root", password=SECRET, email="")


@example("services.people.add_person", Action.PERSON_ADD)
def add():
    admin = make_superuser()
    return lambda: people.add_person(actor=admin, username="ann", email="a@example.com", password=SECRET)


@example("services.people.change_person", Action.PERSON_CHANGE)
def change():
    admin, person = make_superuser(), make_user()
    return lambda: people.change_person(person, actor=admin, is_active=False)


@example("services.people.set_password", Action.PERSON_PASSWORD)
def password():
    admin, person = make_superuser(), make_user()
    return lambda: people.set_password(person, actor=admin, password=SECRET)


@example("services.people.remove_second_factor", Action.PERSON_SECOND_FACTOR)
def second_factor():
    admin, person = make_superuser(), make_user()
    Authenticator.objects.create(user=person, type=Authenticator.Type.TOTP, data={"secret": SECRET})
    return lambda: people.remove_second_factor(person, actor=admin)


@example("services.people.grant_role", Action.GRANT_ADD)
def grant():
    admin, person, source = make_superuser(), make_user(), make_source()
    return lambda: people.grant_role(person, actor=admin, role=Role.OPERATOR, source=source)


@example("services.people.revoke_role", Action.GRANT_REMOVE)
def revoke():
    admin, person = make_superuser(), make_user(Role.OPERATOR)
    return lambda: people.revoke_role(Grant.objects.get(user=person), actor=admin)


@example("services.profiles.save_profile", Action.PROFILE_CHANGE)
def profile():
    person = make_user()
    return lambda: profiles.save_profile(person, actor=person, ssh_keys=PUBLIC_KEY)


@example("services.api_tokens.add_token", Action.TOKEN_ADD)
def add_token():
    person = make_user()
    return lambda: api_tokens.add_token(person, actor=person, name="ci", days=30)


@example("services.api_tokens.revoke_token", Action.TOKEN_REVOKE)
def revoke_token():
    person = make_user()
    token, _ = api_tokens.add_token(person, actor=person, name="ci", days=None)
    return lambda: api_tokens.revoke_token(token, actor=person)


@example(
    "services.api_tokens.check_token",
    Action.TOKEN_REFUSED,
    writer="services.api_tokens._refusal",
    result="refused",
    by="portal",
)
def refuse_token():
    cache.clear()

    def call():
        try:
            api_tokens.check_token(SECRET)
        except api_tokens.TokenRefused:
            return

    return call


@example("services.identities.add_identity", Action.IDENTITY_ADD)
def add_identity():
    admin = make_superuser()
    return lambda: identities.add_identity(
        actor=admin, source=None, remote_user="ann@pve", remote_token="ci", person_name="Ann"
    )


def known():
    return KnownIdentity.objects.create(remote_user="ann@pve", person_name="Ann")


@example("services.identities.change_identity", Action.IDENTITY_CHANGE)
def change_identity():
    admin, identity = make_superuser(), known()
    return lambda: identities.change_identity(identity, actor=admin, person_name="Anna")


@example("services.identities.remove_identity", Action.IDENTITY_REMOVE)
def remove_identity():
    admin, identity = make_superuser(), known()
    return lambda: identities.remove_identity(identity, actor=admin)


@example("services.time_limits.set_time_limits", Action.LIMITS_CHANGE)
def limits():
    admin = make_superuser()
    return lambda: time_limits.set_time_limits(actor=admin, seconds={"clone": 3660})


def save(team, actor, **given):
    wanted = {"name": "Research", "slug": "research", "quota": teams.Limits(), "ceiling": teams.Limits()}
    return teams.save_team(team, actor=actor, **(wanted | given))


@example("services.teams.save_team", Action.TEAM_ADD, note="new")
def add_team():
    admin = make_superuser()
    return lambda: save(None, admin)


@example("services.teams.save_team", Action.TEAM_CHANGE, note="changed")
def change_team():
    admin = make_superuser()
    team = save(None, admin)
    return lambda: save(team, admin, name="Physics")


@example("services.teams.set_quota", Action.TEAM_QUOTA)
def quota():
    admin, team = make_superuser(), make_team()
    return lambda: teams.set_quota(team, actor=admin, quota=teams.Limits(machines=3))


@example("services.teams.add_member", Action.TEAM_MEMBER_ADD)
def add_member():
    admin, team, person = make_superuser(), make_team(), make_user()
    return lambda: teams.add_member(team, actor=admin, person=person)


@example("services.teams.remove_member", Action.TEAM_MEMBER_REMOVE)
def remove_member():
    admin, person = make_superuser(), make_user()
    team = make_team(person)
    return lambda: teams.remove_member(team, actor=admin, person=person)


@example("services.teams.set_admin", Action.TEAM_ADMIN)
def set_admin():
    admin, person = make_superuser(), make_user()
    team = make_team(person)
    return lambda: teams.set_admin(team, actor=admin, person=person, is_admin=True)


@example("services.teams.grant_item", Action.TEAM_ITEM_GRANT)
def grant_item():
    admin, team, item = make_superuser(), make_team(), make_item()
    return lambda: teams.grant_item(team, actor=admin, item=item)


@example("services.teams.revoke_item", Action.TEAM_ITEM_REVOKE)
def revoke_item():
    admin, item = make_superuser(), make_item()
    team = make_team(items=(item,))
    return lambda: teams.revoke_item(team, actor=admin, item=item)


@example("services.teams.remove_team", Action.TEAM_REMOVE)
def remove_team():
    admin, team = make_superuser(), make_team()
    return lambda: teams.remove_team(team, actor=admin)
