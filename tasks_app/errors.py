"""Refusals of our own: the portal understood and says no.

Refused ─┬─ NotPermitted            the person may not (403)
         ├─ TaskAlreadyFinished     too late to cancel (409)
         ├─ SourcePaused            nothing is sent to a paused source (409)
         ├─ PrivilegeMissing        the source's token may not; names privilege and path (409)
         └─ InvalidInput            what was given cannot be used; `fields` says why (422)

One middleware turns a Refused that reaches the edge into a page or JSON with its status.
"""


class Refused(Exception):
    """Base of all refusals. `str(error)` is a sentence fit for the person who asked."""

    status = 409


class NotPermitted(Refused):
    """The person has no role that allows this."""

    status = 403


class TaskAlreadyFinished(Refused):
    """The task had ended before the request."""


class SourcePaused(Refused):
    """The source is paused by an admin; nothing is sent to it."""


class PrivilegeMissing(Refused):
    """The source's token lacks a privilege. `privilege` and `path` say which and where."""

    def __init__(self, message: str, *, privilege: str, path: str) -> None:
        super().__init__(message)
        self.privilege = privilege
        self.path = path


class InvalidInput(Refused):
    """What was given cannot be used. `fields` maps a field to a sentence for the person; "" is about the whole."""

    status = 422

    def __init__(self, /, **fields: str) -> None:
        super().__init__(" ".join(fields.values()))
        self.fields = fields
