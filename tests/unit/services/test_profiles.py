"""SSH keys of a profile: which lines are taken, and whose."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tasks_app.errors import InvalidInput, NotPermitted
from tasks_app.models import AuditEntry, Profile
from tasks_app.services.profiles import MAX_KEYS, parse_ssh_keys, save_profile
from tests.factories import make_superuser, make_user

pytestmark = pytest.mark.django_db


def public(key, comment="me@laptop"):
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + f" {comment}"


ED = public(ed25519.Ed25519PrivateKey.generate())
EC = public(ec.generate_private_key(ec.SECP256R1()))
RSA = public(rsa.generate_private_key(65537, 2048))


def test_keys_are_kept_one_a_line_and_audited_without_their_text(audited):
    person = make_user()
    save_profile(person, actor=person, ssh_keys=f"\r\n {ED} \r\n\r\n{EC}\n{RSA}\n{ED}\n")
    assert Profile.objects.get().ssh_keys.splitlines() == [ED, EC, RSA]
    save_profile(person, actor=person, ssh_keys=f"{ED}\n{EC}\n{RSA}")
    assert audited() == ["person.profile"]
    assert AuditEntry.objects.get().data == {"keys_before": 0, "keys_after": 3}
    save_profile(person, actor=person, ssh_keys="")
    assert Profile.objects.get().ssh_keys == ""


@pytest.mark.parametrize("actor", [make_user, make_superuser])
def test_nobody_keeps_keys_for_somebody_else(actor):
    with pytest.raises(NotPermitted):
        save_profile(make_user(), actor=actor(), ssh_keys=ED)


PRIVATE = (
    ed25519.Ed25519PrivateKey.generate()
    .private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    .decode()
)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hello", "no public key"),
        (ED.split()[1], "no public key"),
        (ED[:40], "no public key"),
        ("ssh-ed25519 ÄÖÜ", "no public key"),
        (f'command="rm -rf /" {ED}', "no public key"),
        (f"{ED}\x1b[31m", "no public key"),
        ("ssh-ed25519 " + "A" * 10_000, "no public key"),
        (public(rsa.generate_private_key(65537, 1024)), "2048 bits"),
        ("ssh-dss AAAAB3NzaC1kc3MAAACBAP me@laptop", "DSA"),
    ],
    # the keys are new in each run, and the names of tests must not be
    ids=["words", "no-type", "cut", "not-base64", "options", "escape", "long", "short-rsa", "dsa"],
)
def test_a_wrong_line_is_named(line, words):
    with pytest.raises(InvalidInput) as caught:
        parse_ssh_keys(f"{ED}\n{line}")
    assert set(caught.value.fields) == {"ssh_keys"}
    assert caught.value.fields["ssh_keys"].startswith("Line 2: ")
    assert words in str(caught.value)


def test_a_private_key_is_not_repeated_in_the_error():
    with pytest.raises(InvalidInput) as caught:
        parse_ssh_keys(PRIVATE)
    assert "private key" in str(caught.value)
    assert PRIVATE.splitlines()[1] not in str(caught.value)


def test_there_is_an_end_to_keys():
    many = "\n".join(public(ed25519.Ed25519PrivateKey.generate()) for _ in range(MAX_KEYS + 1))
    with pytest.raises(InvalidInput, match="at most"):
        parse_ssh_keys(many)
