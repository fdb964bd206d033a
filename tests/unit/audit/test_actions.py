"""Every word of the audit trail is written by exactly the deeds that it is meant for."""

import ast
from pathlib import Path

from tasks_app.audit.actions import Action

ROOT = Path(__file__).parents[3]

# The spelling is part of a trail that is kept for ever: these lines are never changed, only added to.
MEANT = {
    "LOGIN": ("person.login", {"tasks_app.signin._logged_in"}),
    "LOGIN_FAILED": (
        "person.login_failed",
        {"tasks_app.signin._login_failed", "tasks_app.signin._second_factor_failed"},
    ),
    "LOGOUT": ("person.logout", {"tasks_app.signin._logged_out"}),
    "PERSON_SETUP": ("person.setup", {"tasks_app.services.setup.set_up_admin"}),
    "PERSON_ADD": ("person.add", {"tasks_app.services.people.add_person"}),
    "PERSON_CHANGE": ("person.change", {"tasks_app.services.people.change_person"}),
    "PERSON_PASSWORD": (
        "person.password",
        {"tasks_app.services.people.set_password", "tasks_app.signin._password_changed"},
    ),
    "PERSON_SECOND_FACTOR": (
        "person.second_factor",
        {"tasks_app.signin._note_second_factor"},
    ),
    "GRANT_ADD": ("grant.add", {"tasks_app.services.people.grant_role"}),
    "GRANT_REMOVE": ("grant.remove", {"tasks_app.services.people.revoke_role"}),
    "SOURCE_ADD": ("source.add", {"tasks_app.services.sources.add_source"}),
    "SOURCE_CHANGE": ("source.change", {"tasks_app.services.sources.change_source"}),
    "SOURCE_REMOVE": ("source.remove", {"tasks_app.services.sources.remove_source"}),
    "SOURCE_PAUSE": ("source.pause", {"tasks_app.services.sources.pause_source"}),
    "SOURCE_RESUME": ("source.resume", {"tasks_app.services.sources.resume_source"}),
    "SOURCE_CHECK": ("source.check", {"tasks_app.services.sources._note"}),
    "SOURCE_SECRET": ("source.secret", {"tasks_app.services.sources.replace_token"}),
    "SOURCE_CERTIFICATE": ("source.certificate", {"tasks_app.services.sources.accept_certificate"}),
    "TASK_CANCEL": (
        "task.cancel",
        {
            "tasks_app.services.cancellation.cancel_task",
            "tasks_app.services.generation_cancellation.cancel_generation",
            "tasks_app.services.generation_cancellation.cancel_overdue",
        },
    ),
    "GENERATION_SUBMIT": ("generation.submit", {"tasks_app.services.generations.submit_generation"}),
    "GENERATION_RETRY": ("generation.retry", {"tasks_app.services.generations.retry_generation"}),
    "TASK_ACKNOWLEDGE": ("task.acknowledge", {"tasks_app.services.acknowledgements.acknowledge_task"}),
    "TASK_LOG_DOWNLOAD": ("task.log_download", {"tasks_app.views"}),
    "SUBMIT": ("submission.submit", {"tasks_app.services.submissions.submit_guest_action"}),
    "MACHINE_ACTION": ("machine.action", {"tasks_app.services.machines.submit_machine_action"}),
    "MACHINE_DELETE": ("machine.delete", {"tasks_app.services.machines.delete_machine"}),
    "MACHINE_EXTEND": ("machine.extend", {"tasks_app.services.machines.extend_lease"}),
    "MACHINE_TRANSFER": ("machine.transfer", {"tasks_app.services.machines.transfer_machine"}),
    "MACHINE_LEASE_END": (
        "machine.lease_end",
        {
            "tasks_app.services.leases._end_lease",
            "tasks_app.services.leases._pull_plug",
            "tasks_app.services.leases._delete",
        },
    ),
    "MACHINE_GONE": ("machine.gone", {"tasks_app.services.removal.note_gone"}),
    "LIMITS_CHANGE": ("limits.change", {"tasks_app.services.time_limits.set_time_limits"}),
    "PROFILE_CHANGE": ("person.profile", {"tasks_app.services.profiles.save_profile"}),
    "TEAM_ADD": ("team.add", {"tasks_app.services.teams.save_team"}),
    "TEAM_CHANGE": ("team.change", {"tasks_app.services.teams.save_team"}),
    "TEAM_QUOTA": ("team.quota", {"tasks_app.services.teams.set_quota"}),
    "TEAM_REMOVE": ("team.remove", {"tasks_app.services.teams.remove_team"}),
    "TEAM_MEMBER_ADD": ("team.member_add", {"tasks_app.services.teams.add_member"}),
    "TEAM_MEMBER_REMOVE": ("team.member_remove", {"tasks_app.services.teams.remove_member"}),
    "TEAM_ADMIN": ("team.admin", {"tasks_app.services.teams.set_admin"}),
    "TEAM_ITEM_GRANT": ("team.item_grant", {"tasks_app.services.teams.grant_item"}),
    "TEAM_ITEM_REVOKE": ("team.item_revoke", {"tasks_app.services.teams.revoke_item"}),
    "ITEM_ADD": ("item.add", {"tasks_app.services.catalog_items.save_item"}),
    "ITEM_CHANGE": ("item.change", {"tasks_app.services.catalog_items.save_item"}),
    "ITEM_SWITCH": ("item.switch", {"tasks_app.services.catalog_items.set_item_enabled"}),
    "ITEM_REMOVE": ("item.remove", {"tasks_app.services.catalog_items.remove_item"}),
    "ORDER_SUBMIT": ("order.submit", {"tasks_app.services.orders._write"}),
    "ORDER_APPROVE": ("order.approve", {"tasks_app.services.approvals.approve"}),
    "ORDER_REJECT": ("order.reject", {"tasks_app.services.approvals.reject"}),
    "ORDER_PAUSE": ("order.pause", {"tasks_app.services.order_deeds.pause_order"}),
    "ORDER_RESUME": ("order.resume", {"tasks_app.services.order_deeds.resume_order"}),
    "ORDER_CANCEL": ("order.cancel", {"tasks_app.services.order_deeds.cancel_order"}),
    "ORDER_RETRY": ("order.retry", {"tasks_app.services.order_deeds.retry_failed"}),
    "ORDER_ROLLBACK": ("order.rollback", {"tasks_app.services.order_deeds.roll_back"}),
    "ORDER_EXPORT": ("order.export", {"tasks_app.views"}),
    "AUDIT_EXPORT": ("audit.export", {"tasks_app.services.exports.export_entries"}),
    "TASKS_EXPORT": ("tasks.export", {"tasks_app.services.exports.export_tasks"}),
    "MACHINE_CANCEL": ("machine.cancel", {"tasks_app.services.order_deeds.cancel_machine"}),
    "RESULT_DOWNLOAD": ("result.download", {"tasks_app.services.results.record_download"}),
    "RESULT_KEEP": ("result.keep", {"tasks_app.services.results.keep_result"}),
    "RESULT_RELEASE": ("result.release", {"tasks_app.services.results.release_result"}),
    "RESULT_CLEAN_UP": (
        "result.clean_up",
        {
            "tasks_app.services.result_retention.request_clean_up",
            "tasks_app.services.result_retention._clean_batch",
        },
    ),
    "DEMO_HISTORY": (
        "demo.history",
        {"portal.supervisor.history._begin", "portal.supervisor.history.seed_history"},
    ),
    "DENIED": ("permission.denied", {"portal.middleware.process_exception"}),
}


def recorded_words():
    """Word → the functions that pass it to `record`."""
    found = {}
    for path in [*ROOT.glob("tasks_app/**/*.py"), *ROOT.glob("portal/**/*.py")]:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "record" and call.args:
                    word = call.args[0]
                    assert isinstance(word, ast.Attribute), f"{module}.{function.name} hides its action"
                    where = (
                        "tasks_app.views"
                        if module.startswith("tasks_app.views")
                        else f"{module}.{function.name}"
                    )
                    found.setdefault(word.attr, set()).add(where)
    return found


def test_words_are_spelled_as_ever():
    assert {action.name: action.value for action in Action} == {
        name: spelling for name, (spelling, _) in MEANT.items()
    }


def test_every_word_is_written_by_the_deeds_it_is_meant_for():
    assert recorded_words() == {name: deeds for name, (_, deeds) in MEANT.items()}


def test_every_service_that_changes_something_is_on_the_list():
    """A public function of a service that takes an actor records; reading and delivering take none."""
    recording = {deed for _, deeds in MEANT.values() for deed in deeds}
    for path in ROOT.glob("tasks_app/services/*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
                continue
            takes_actor = any(argument.arg == "actor" for argument in function.args.kwonlyargs)
            if takes_actor and function.name != "check_source":  # that records in its second half, `_note`
                assert f"{module}.{function.name}" in recording
