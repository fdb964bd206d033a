"""The catalogue of deeds that leave an entry. A deed without a word here cannot be recorded."""

from enum import StrEnum


class Action(StrEnum):
    """`noun.verb`; the spelling is part of the audit trail and never changes."""

    LOGIN = "person.login"
    LOGIN_FAILED = "person.login_failed"
    LOGOUT = "person.logout"
    PERSON_SETUP = "person.setup"
    PERSON_ADD = "person.add"
    PERSON_CHANGE = "person.change"
    PERSON_PASSWORD = "person.password"  # noqa: S105
    PERSON_SECOND_FACTOR = "person.second_factor"
    GRANT_ADD = "grant.add"
    GRANT_REMOVE = "grant.remove"
    SOURCE_ADD = "source.add"
    SOURCE_CHANGE = "source.change"
    SOURCE_REMOVE = "source.remove"
    SOURCE_PAUSE = "source.pause"
    SOURCE_RESUME = "source.resume"
    SOURCE_CHECK = "source.check"
    SOURCE_SECRET = "source.secret"  # noqa: S105
    SOURCE_CERTIFICATE = "source.certificate"
    TASK_CANCEL = "task.cancel"
    TASK_ACKNOWLEDGE = "task.acknowledge"
    TASK_LOG_DOWNLOAD = "task.log_download"
    SUBMIT = "submission.submit"
    DENIED = "permission.denied"
