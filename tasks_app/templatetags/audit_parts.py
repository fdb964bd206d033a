"""Tags of the audit trail: deeds in words, what changed, and the facts of an entry."""

import json
from dataclasses import dataclass
from typing import Any

from django import template

from tasks_app.audit.actions import Action
from tasks_app.models import AuditEntry
from tasks_app.templatetags.portal import readable

register = template.Library()

_WORDS: dict[Action, str] = {
    Action.LOGIN: "signed in",
    Action.LOGIN_FAILED: "could not sign in",
    Action.LOGOUT: "signed out",
    Action.PERSON_SETUP: "set up the portal",
    Action.PERSON_ADD: "added the person",
    Action.PERSON_CHANGE: "changed the person",
    Action.PERSON_PASSWORD: "set the password of",
    Action.PERSON_SECOND_FACTOR: "changed the second factor of",
    Action.PROFILE_CHANGE: "changed the profile of",
    Action.GRANT_ADD: "gave a role:",
    Action.GRANT_REMOVE: "took a role away:",
    Action.SOURCE_ADD: "connected",
    Action.SOURCE_CHANGE: "changed the connection of",
    Action.SOURCE_REMOVE: "removed the source",
    Action.SOURCE_PAUSE: "paused",
    Action.SOURCE_RESUME: "resumed",
    Action.SOURCE_CHECK: "checked the connection of",
    Action.SOURCE_SECRET: "replaced the secret of",
    Action.SOURCE_CERTIFICATE: "trusted another certificate of",
    Action.TASK_BEGAN: "was told that it began:",
    Action.TASK_CANCEL: "asked to cancel",
    Action.TASK_ACKNOWLEDGE: "acknowledged",
    Action.TASK_LOG_DOWNLOAD: "downloaded the log of",
    Action.SUBMIT: "asked for",
    Action.MACHINE_ACTION: "asked a machine for something:",
    Action.MACHINE_DELETE: "asked to delete the machine",
    Action.MACHINE_EXTEND: "extended the lease of",
    Action.MACHINE_TRANSFER: "gave away the machine",
    Action.MACHINE_LEASE_END: "ended the lease of",
    Action.MACHINE_GONE: "noted that it is gone:",
    Action.MACHINE_CANCEL: "took out of its order:",
    Action.LIMITS_CHANGE: "changed the time limits",
    Action.TEAM_ADD: "added the team",
    Action.TEAM_CHANGE: "changed the team",
    Action.TEAM_QUOTA: "changed the quota of",
    Action.TEAM_REMOVE: "removed the team",
    Action.TEAM_MEMBER_ADD: "added a member to",
    Action.TEAM_MEMBER_REMOVE: "removed a member from",
    Action.TEAM_ADMIN: "changed the admins of",
    Action.TEAM_ITEM_GRANT: "opened a catalogue item to",
    Action.TEAM_ITEM_REVOKE: "closed a catalogue item to",
    Action.ITEM_ADD: "added the catalogue item",
    Action.ITEM_CHANGE: "changed the catalogue item",
    Action.ITEM_SWITCH: "switched the catalogue item",
    Action.ITEM_REMOVE: "removed the catalogue item",
    Action.ORDER_SUBMIT: "ordered",
    Action.ORDER_APPROVE: "approved",
    Action.ORDER_REJECT: "rejected",
    Action.ORDER_PAUSE: "paused the order",
    Action.ORDER_RESUME: "resumed the order",
    Action.ORDER_CANCEL: "cancelled the order",
    Action.ORDER_RETRY: "tried again:",
    Action.ORDER_ROLLBACK: "rolled back the order",
    Action.ORDER_EXPORT: "exported the order",
    Action.TOKEN_ADD: "made an API token:",
    Action.TOKEN_REVOKE: "revoked the API token",
    Action.TOKEN_REFUSED: "refused an API token:",
    Action.WEBHOOK_REFUSED: "refused a webhook of",
    Action.IDENTITY_ADD: "said whose this is:",
    Action.IDENTITY_CHANGE: "changed whose this is:",
    Action.IDENTITY_REMOVE: "forgot whose this is:",
    Action.HISTORY_GAP: "noted a gap in the history of",
    Action.RETENTION_CHANGE: "changed how long is kept:",
    Action.AUDIT_PURGE: "purged audit entries",
    Action.AUDIT_EXPORT: "exported the audit trail",
    Action.AUDIT_VERIFY: "verified the audit trail",
    Action.TASKS_EXPORT: "exported tasks",
    Action.TASKS_PURGE: "purged tasks",
    Action.RESULT_DOWNLOAD: "downloaded a result of",
    Action.RESULT_KEEP: "kept the results of",
    Action.RESULT_RELEASE: "released the results of",
    Action.RESULT_CLEAN_UP: "cleaned up",
    Action.GENERATION_SUBMIT: "asked to make",
    Action.GENERATION_RETRY: "asked to make again",
    Action.DEMO_HISTORY: "made up a past for",
    Action.DENIED: "was refused",
}
_LONGEST_LIST = 20
_UPIDS = ("upid", "remote_id")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is different; `before` and `after` in words, None where it was not there."""

    name: str
    before: str | None
    after: str | None


@register.filter
def deed_words(action: str) -> str:
    """The deed between the person and the object: `anna cancelled the order lab`."""
    return _WORDS.get(action, action)  # type: ignore[call-overload,no-any-return]


@register.filter
def changes(entry: AuditEntry) -> list[Change]:
    """What an entry tells of before and after, field by field."""
    before, after = entry.data.get("before"), entry.data.get("after")
    if before is None and after is None:
        return []
    if isinstance(before, dict) or isinstance(after, dict):
        olds, news = _fields(before), _fields(after)
        names = dict.fromkeys([*olds, *news])
        return [Change(_name(name), _told(olds, name), _told(news, name)) for name in names]
    return [Change("", _value(before), _value(after))]


@register.filter
def facts(entry: AuditEntry) -> list[tuple[str, str, bool]]:
    """The rest of what an entry tells: name, value, and whether the value is a UPID."""
    return [
        (_name(name), _value(value), name in _UPIDS and str(value).startswith("UPID:"))
        for name, value in entry.data.items()
        if name not in ("before", "after") and value not in ("", None, [], {})
    ]


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {} if value is None else {"": value}


def _told(fields: dict[str, Any], name: str) -> str | None:
    return _value(fields[name]) if name in fields else None


def _name(name: str) -> str:
    return readable(name.replace("_", " "))


def _value(value: Any) -> str:
    """For people: `yes`, `nothing`, `a, b`; what is nested as JSON."""
    if value is None or value in ("", [], {}):
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        words = ", ".join(str(item) for item in value[:_LONGEST_LIST])
        return readable(
            words if len(value) <= _LONGEST_LIST else f"{words} and {len(value) - _LONGEST_LIST} more"
        )
    if isinstance(value, dict | list):
        return readable(json.dumps(value, ensure_ascii=False, sort_keys=True))
    return readable(str(value))


@register.filter
def target_key(entry: AuditEntry) -> str:
    """`kind:id`, as the filter of the audit trail takes it."""
    return f"{entry.target_kind}:{entry.target_id}"


@register.filter
def at(values: dict[str, str], key: str) -> str:
    """`values[key]`, or ""."""
    return values.get(key, "")
