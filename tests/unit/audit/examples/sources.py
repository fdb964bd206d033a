"""Sources of both kinds: added, changed, checked, paused, removed; their secrets."""

from tasks_app.audit.actions import Action
from tasks_app.services import generation_sources, log_keeping, sources
from tests.factories import make_generation_source, make_source, make_superuser, make_task
from tests.unit.audit.deeds import SECRET, example

PIN = ":".join(["AB"] * 32)


@example("services.sources.add_source", Action.SOURCE_ADD)
def add():
    admin = make_superuser()
    return lambda: sources.add_source(
        actor=admin,
        name="prod",
        urls=["pve1.example.com"],
        fingerprints=[PIN],
        token_id="portal@pve!web",
        token_secret=SECRET,
    )


@example("services.sources.change_source", Action.SOURCE_CHANGE)
def change():
    admin, source = make_superuser(), make_source()
    return lambda: sources.change_source(source, actor=admin, name="renamed")


@example("services.sources.accept_certificate", Action.SOURCE_CERTIFICATE)
def accept():
    admin, source = make_superuser(), make_source()
    return lambda: sources.accept_certificate(source, actor=admin, fingerprints=[PIN])


@example("services.sources.replace_token", Action.SOURCE_SECRET)
def replace():
    admin, source = make_superuser(), make_source()
    return lambda: sources.replace_token(source, actor=admin, token_id="portal@pve!two", token_secret=SECRET)


@example("services.sources.pause_source", Action.SOURCE_PAUSE)
def pause():
    admin, source = make_superuser(), make_source()
    return lambda: sources.pause_source(source, actor=admin)


@example("services.sources.resume_source", Action.SOURCE_RESUME)
def resume():
    admin, source = make_superuser(), make_source()
    sources.pause_source(source, actor=admin)
    return lambda: sources.resume_source(source, actor=admin)


@example("services.sources.remove_source", Action.SOURCE_REMOVE)
def remove():
    admin, source = make_superuser(), make_task().source
    return lambda: sources.remove_source(source, actor=admin)


@example(
    "services.sources.check_source", Action.SOURCE_CHECK, writer="services.sources._note", result="failed"
)
def check():
    """Nothing listens at its address: asking it is a deed all the same."""
    admin, source = make_superuser(), make_source()
    return lambda: sources.check_source(source, actor=admin)


@example("services.generation_sources.add_generation_source", Action.SOURCE_ADD)
def add_generation():
    admin = make_superuser()
    return lambda: generation_sources.add_generation_source(
        actor=admin,
        kind="task_api",
        name="studio",
        url="https://studio.example.com",
        key=SECRET,
        webhook_secret=SECRET,
        settings={"api_key": SECRET, "limits": {"total": 3}},
    )


@example("services.generation_sources.change_generation_source", Action.SOURCE_CHANGE)
def change_generation():
    admin, source = make_superuser(), make_generation_source()
    return lambda: generation_sources.change_generation_source(
        source, actor=admin, settings={"limits": {"total": 3}, "api_key": SECRET}
    )


@example("services.generation_sources.replace_generation_key", Action.SOURCE_SECRET)
def replace_generation():
    admin, source = make_superuser(), make_generation_source()
    return lambda: generation_sources.replace_generation_key(
        source, actor=admin, key=SECRET, webhook_secret=SECRET
    )


@example("services.generation_sources.check_generation_source", Action.SOURCE_CHECK, result="failed")
def check_generation():
    admin, source = make_superuser(), make_generation_source()
    return lambda: generation_sources.check_generation_source(source, actor=admin)


@example("services.log_keeping.change_log_keeping", Action.SOURCE_CHANGE)
def change_log_keeping():
    admin, source = make_superuser(), make_source()
    return lambda: log_keeping.change_log_keeping(source, actor=admin, limit_kb=100, keeps_foreign=False)
