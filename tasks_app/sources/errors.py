"""What can go wrong with a remote, in three branches that answer one question each.

SourceError ─┬─ SourceUnavailable  ask again later: timeout, refused, DNS, 5xx, 595/596, 429, not JSON
             ├─ SourceRefused      give up on this request: 400, 403, 404, 501; asking again gives the same
             └─ SourceNeedsPerson  call a person: certificate changed, 401, not a Proxmox, clock skew

None of them ever says anything about a task: a failed request changes nothing.
`kind` is a stable word for tables and tests; `str(error)` is a plain sentence without secrets.
"""


class SourceError(Exception):
    """Base. `kind` is one of the words listed at the subclasses; `status` the HTTP status or None."""

    def __init__(
        self, message: str, *, kind: str = "", status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind or type(self).__name__
        self.status = status
        self.retry_after = retry_after


class SourceUnavailable(SourceError):
    """Ask again.

    Kinds: dns, refused, timeout, connection, server_error, proxy, rate_limited, garbage, too_large.
    """


class OutcomeUnknown(SourceUnavailable):
    """A request that may not be repeated lost its answer: it may or may not have happened. Look for proof."""


class SourceRefused(SourceError):
    """Give up on this request. Kinds: invalid, forbidden, not_found, not_implemented, locked, remote_error.

    `fields` maps parameter → text (Proxmox's `errors`); `privilege`/`path` are set for forbidden when named.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "",
        status: int | None = None,
        fields: dict[str, str] | None = None,
        privilege: str = "",
        path: str = "",
    ) -> None:
        super().__init__(message, kind=kind, status=status)
        self.fields = fields or {}
        self.privilege = privilege
        self.path = path


class SourceNeedsPerson(SourceError):
    """Call a person. Kinds: certificate, unauthorized, not_proxmox, clock_skew, redirect.

    `seen_fingerprint` is the SHA-256 (colon form) of a certificate that is not pinned, else "".
    """

    def __init__(
        self, message: str, *, kind: str = "", status: int | None = None, seen_fingerprint: str = ""
    ) -> None:
        super().__init__(message, kind=kind, status=status)
        self.seen_fingerprint = seen_fingerprint
