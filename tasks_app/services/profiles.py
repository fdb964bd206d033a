"""What a person brings along: SSH keys that are put into the machines they order."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from django.contrib.auth.models import User
from django.db import transaction

from tasks_app.audit.actions import Action
from tasks_app.audit.recorder import record
from tasks_app.errors import InvalidInput, NotPermitted
from tasks_app.models import Profile

MAX_KEYS = 20
MAX_KEY_CHARACTERS = 4096
"""An RSA key of 16,384 bits with a comment is shorter."""
LEAST_RSA_BITS = 2048


@transaction.atomic
def save_profile(person: User, *, actor: User, ssh_keys: str) -> None:
    """Keep the keys, one a line. Machines that exist keep the keys they were made with.

    Raises NotPermitted for somebody else's profile, InvalidInput (ssh_keys) naming the lines.
    """
    if actor != person:
        raise NotPermitted("Everybody keeps their own keys.")
    keys = parse_ssh_keys(ssh_keys)
    profile, _ = Profile.objects.get_or_create(user=person)
    text = "\n".join(keys)
    if profile.ssh_keys == text:
        return
    before = len(profile.ssh_keys.splitlines())
    Profile.objects.filter(pk=profile.pk).update(ssh_keys=text)
    record(Action.PROFILE_CHANGE, actor=actor, target=person, keys_before=before, keys_after=len(keys))


def parse_ssh_keys(text: str) -> list[str]:
    """The keys of `text`, one a line, each once. Raises InvalidInput (ssh_keys) with a sentence for each wrong line."""
    lines = [
        (number, " ".join(line.split())) for number, line in enumerate(text.splitlines(), 1) if line.strip()
    ]
    troubles = [f"Line {number}: {trouble}" for number, line in lines if (trouble := _trouble_with(line))]
    if troubles:
        raise InvalidInput(ssh_keys=" ".join(troubles[:5]))
    keys = list(dict.fromkeys(line for _, line in lines))
    if len(keys) > MAX_KEYS:
        raise InvalidInput(ssh_keys=f"Keep at most {MAX_KEYS} keys.")
    return keys


def _trouble_with(line: str) -> str:
    """Why `line` is no public key that may be used; "" when it is one."""
    if "PRIVATE KEY" in line:
        return "this is a private key. Never hand it out; paste the line of the .pub file."
    if len(line) > MAX_KEY_CHARACTERS or not line.isprintable():
        return "this is no public key."
    if line.startswith("ssh-dss "):
        return "DSA keys are not accepted by today's systems."
    try:
        key = load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm):
        return "this is no public key. It begins with ssh-ed25519, ecdsa-… or ssh-rsa and stands on one line."
    if isinstance(key, RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        return f"an RSA key needs at least {LEAST_RSA_BITS} bits."
    return ""
