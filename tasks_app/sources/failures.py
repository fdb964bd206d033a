"""Turns what the network stack throws into typed errors, in plain words and without secrets."""

import socket
import ssl

import requests
import urllib3.exceptions

from tasks_app.sources.errors import OutcomeUnknown, SourceError, SourceNeedsPerson, SourceUnavailable
from tasks_app.sources.tls import FingerprintMismatch


class TooLarge(Exception):
    """The body passed the limit; the rest was not read."""


class Redirected(Exception):
    """The remote wants us to go elsewhere; the text is its Location. `is_done`: it says 303, "see there what came"."""

    def __init__(self, location: str, *, is_done: bool = False) -> None:
        super().__init__(location)
        self.is_done = is_done


def not_connected(cause: Exception, host: str) -> SourceError:
    """The error for a connection that never came about; `host` is host:port."""
    root = _root_of(cause)
    if isinstance(root, FingerprintMismatch):
        return SourceNeedsPerson(
            f"{host} shows another certificate than the pinned one. Seen: {root.seen}. "
            f"Pinned: {', '.join(root.pinned)}. Compare on the node before you accept it.",
            kind="certificate",
            seen_fingerprint=root.seen,
        )
    if isinstance(root, ssl.SSLCertVerificationError):
        return SourceNeedsPerson(
            f"The certificate of {host} is not trusted: {root.verify_message or root.reason}.",
            kind="certificate",
        )
    if isinstance(root, ssl.SSLError) and not isinstance(root, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return SourceNeedsPerson(f"{host} does not speak TLS ({_words_of(root)}).", kind="not_proxmox")
    if isinstance(root, urllib3.exceptions.NameResolutionError | socket.gaierror | UnicodeError):
        return SourceUnavailable(f"The name of {host} cannot be resolved.", kind="dns")
    if isinstance(root, ConnectionRefusedError):
        return SourceUnavailable(f"{host} refuses connections.", kind="refused")
    if isinstance(root, TimeoutError | urllib3.exceptions.ConnectTimeoutError):
        return SourceUnavailable(f"{host} does not answer: no connection in time.", kind="timeout")
    return SourceUnavailable(f"No connection to {host} ({_words_of(root)}).", kind="connection")


def is_worth_repeating(cause: Exception) -> bool:
    """Whether another address, or the same a moment later, may do better: not when a person must look."""
    return not isinstance(not_connected(cause, ""), SourceNeedsPerson)


def answer_lost(error: Exception, host: str, *, is_read: bool) -> SourceError:
    """The error for a request that may have been sent and brought no complete answer."""
    timed_out = is_timeout(error)
    what = (
        f"{host} did not answer in time." if timed_out else f"{host} closed the connection without an answer."
    )
    kind = "timeout" if timed_out else "connection"
    if is_read:
        return SourceUnavailable(what, kind=kind)
    return OutcomeUnknown(f"{what} The request may or may not have been carried out.", kind=kind)


def too_large(host: str, limit_bytes: int, *, is_read: bool) -> SourceError:
    text = f"The answer of {host} is larger than {limit_bytes // 1024} KiB."
    if is_read:
        return SourceUnavailable(text, kind="too_large")
    return OutcomeUnknown(f"{text} The request may or may not have been carried out.", kind="too_large")


def redirected(host: str, location: str, *, may_be_done: bool = False) -> SourceError:
    """`may_be_done`: a write that was answered with 303 has been carried out, or perhaps has."""
    target = "".join(c for c in location.split("?")[0] if c.isprintable())[:200]
    if may_be_done:
        return OutcomeUnknown(
            f"{host} answers with a redirect to {target or 'another address'}. "
            "The request may or may not have been carried out.",
            kind="redirect",
        )
    return SourceNeedsPerson(
        f"{host} redirects to {target or 'another address'}. Enter the final address.", kind="redirect"
    )


def _root_of(error: Exception) -> BaseException:
    """The innermost exception that says something; urllib3 and requests wrap several times."""
    current: BaseException = error
    for _ in range(8):
        inner = current.__cause__ or next((a for a in current.args if isinstance(a, Exception)), None)
        if inner is None or isinstance(current, urllib3.exceptions.NameResolutionError):
            break
        current = inner
    return current


def is_timeout(error: Exception) -> bool:
    kinds = (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)
    return isinstance(error, kinds) or isinstance(_root_of(error), kinds)


def _words_of(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "TLS error").replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return type(error).__name__
