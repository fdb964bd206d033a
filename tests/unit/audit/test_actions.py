"""The words of the audit trail keep their spelling, and each is in use.

Which deed writes which word is shown by the examples of `test_every_deed.py`.
"""

from tasks_app.audit.actions import Action
from tests.unit.audit.finding import recording

# The spelling is part of a trail that is kept for ever: these lines are never changed, only added to.
SPELLED = {
    "LOGIN": "person.login",
    "LOGIN_FAILED": "person.login_failed",
    "LOGOUT": "person.logout",
    "PERSON_SETUP": "person.setup",
    "PERSON_ADD": "person.add",
    "PERSON_CHANGE": "person.change",
    "PERSON_PASSWORD": "person.password",
    "PERSON_SECOND_FACTOR": "person.second_factor",
    "GRANT_ADD": "grant.add",
    "GRANT_REMOVE": "grant.remove",
    "SOURCE_ADD": "source.add",
    "SOURCE_CHANGE": "source.change",
    "SOURCE_REMOVE": "source.remove",
    "SOURCE_PAUSE": "source.pause",
    "SOURCE_RESUME": "source.resume",
    "SOURCE_CHECK": "source.check",
    "SOURCE_SECRET": "source.secret",
    "SOURCE_CERTIFICATE": "source.certificate",
    "TASK_BEGAN": "task.began",
    "TASK_CANCEL": "task.cancel",
    "TASK_ACKNOWLEDGE": "task.acknowledge",
    "TASK_LOG_DOWNLOAD": "task.log_download",
    "SUBMIT": "submission.submit",
    "MACHINE_ACTION": "machine.action",
    "MACHINE_DELETE": "machine.delete",
    "MACHINE_EXTEND": "machine.extend",
    "MACHINE_TRANSFER": "machine.transfer",
    "MACHINE_LEASE_END": "machine.lease_end",
    "MACHINE_GONE": "machine.gone",
    "LIMITS_CHANGE": "limits.change",
    "PROFILE_CHANGE": "person.profile",
    "TEAM_ADD": "team.add",
    "TEAM_CHANGE": "team.change",
    "TEAM_QUOTA": "team.quota",
    "TEAM_REMOVE": "team.remove",
    "TEAM_MEMBER_ADD": "team.member_add",
    "TEAM_MEMBER_REMOVE": "team.member_remove",
    "TEAM_ADMIN": "team.admin",
    "TEAM_ITEM_GRANT": "team.item_grant",
    "TEAM_ITEM_REVOKE": "team.item_revoke",
    "ITEM_ADD": "item.add",
    "ITEM_CHANGE": "item.change",
    "ITEM_SWITCH": "item.switch",
    "ITEM_REMOVE": "item.remove",
    "ORDER_SUBMIT": "order.submit",
    "ORDER_APPROVE": "order.approve",
    "ORDER_REJECT": "order.reject",
    "ORDER_PAUSE": "order.pause",
    "ORDER_RESUME": "order.resume",
    "ORDER_CANCEL": "order.cancel",
    "ORDER_RETRY": "order.retry",
    "ORDER_ROLLBACK": "order.rollback",
    "ORDER_EXPORT": "order.export",
    "MACHINE_CANCEL": "machine.cancel",
    "TOKEN_ADD": "token.add",
    "TOKEN_REVOKE": "token.revoke",
    "TOKEN_REFUSED": "token.refused",
    "WEBHOOK_REFUSED": "webhook.refused",
    "IDENTITY_ADD": "identity.add",
    "IDENTITY_CHANGE": "identity.change",
    "IDENTITY_REMOVE": "identity.remove",
    "HISTORY_GAP": "history.gap",
    "RETENTION_CHANGE": "retention.change",
    "AUDIT_PURGE": "audit.purge",
    "AUDIT_EXPORT": "audit.export",
    "AUDIT_VERIFY": "audit.verify",
    "TASKS_EXPORT": "tasks.export",
    "TASKS_PURGE": "tasks.purge",
    "RESULT_DOWNLOAD": "result.download",
    "RESULT_KEEP": "result.keep",
    "RESULT_RELEASE": "result.release",
    "RESULT_CLEAN_UP": "result.clean_up",
    "GENERATION_SUBMIT": "generation.submit",
    "GENERATION_RETRY": "generation.retry",
    "DEMO_HISTORY": "demo.history",
    "DENIED": "permission.denied",
}


def test_words_are_spelled_as_ever():
    assert {action.name: action.value for action in Action} == SPELLED


def test_every_word_is_written_somewhere():
    """A word that nobody writes is a deed that was forgotten."""
    assert set(SPELLED) - set(recording(but=())) == set()


def test_only_the_demo_is_left_out_of_the_examples():
    shown = recording()
    assert {word for word in recording(but=()) if word not in shown} == {"DEMO_HISTORY"}
