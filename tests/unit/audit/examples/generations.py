"""Videos and images: asked for, tried again, cancelled, kept, released, cleaned up, taken out; webhooks."""

import base64
from datetime import timedelta

from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils.timezone import now

from tasks_app import connections
from tasks_app.audit.actions import Action
from tasks_app.models import Asset, Generation, Role, Task
from tasks_app.services import (
    generation_cancellation,
    generation_delivery,
    generations,
    result_retention,
    results,
    webhooks,
)
from tasks_app.sources.generation.base import Accepted
from tasks_app.states import State
from tests.factories import (
    make_asset,
    make_generation,
    make_generation_source,
    make_superuser,
    make_user,
)
from tests.unit.audit.deeds import example
from tests.unit.services.fake_provider import FakeGeneration

WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()


@example("services.generations.submit_generation", Action.GENERATION_SUBMIT)
def submit(monkeypatch):
    monkeypatch.setattr(connections, "generation_client_of", lambda source: FakeGeneration())
    person, source = make_user(Role.OPERATOR), make_generation_source()
    return lambda: generations.submit_generation(
        source,
        actor=person,
        offer="clip",
        parameters={"prompt": "A red fox"},
        uploads={},
        team=None,
        idempotency_key="once",
    )


@example("services.generations.retry_generation", Action.GENERATION_RETRY)
def retry(monkeypatch):
    monkeypatch.setattr(connections, "generation_client_of", lambda source: FakeGeneration())
    row = make_generation(state=State.FAILED, offer="clip")
    return lambda: generations.retry_generation(row.task, actor=row.actor, idempotency_key="again")


@example("services.generation_cancellation.cancel_generation", Action.TASK_CANCEL)
def cancel():
    row = make_generation()
    return lambda: generation_cancellation.cancel_generation(row.task, actor=row.actor)


@example("services.generation_cancellation.cancel_overdue", Action.TASK_CANCEL, by="portal")
def cancel_overdue():
    make_generation(cancel_at=now() - timedelta(minutes=1))
    return generation_cancellation.cancel_overdue


@example(
    "services.generation_delivery.deliver_generation",
    Action.TASK_BEGAN,
    writer="services.beginnings.note_generation_beginning",
    by="portal",
)
def begin():
    """Without the entry the answer is not written; that the call was made stays written, to be reconciled."""
    provider, at = FakeGeneration(), now()
    row = make_generation(offer="clip", called_at=at, attempts=1, lease_until=at + timedelta(minutes=1))
    row = Generation.objects.select_related("task__source").get(pk=row.pk)
    accepted = Accepted(provider.show("vid_1", State.PENDING), {"id": "vid_1"})
    return lambda: generation_delivery._record(row, accepted)


@example("services.results.keep_result", Action.RESULT_KEEP)
def keep():
    row = make_generation(state=State.COMPLETED)
    return lambda: results.keep_result(row.task, actor=row.actor)


@example("services.results.release_result", Action.RESULT_RELEASE)
def release():
    row = make_generation(state=State.COMPLETED)
    results.keep_result(row.task, actor=row.actor)
    return lambda: results.release_result(row.task, actor=row.actor)


@example("services.results.record_download", Action.RESULT_DOWNLOAD)
def note_download():
    asset = make_asset()
    return lambda: results.record_download(asset, actor=asset.generation.actor)


@example(
    "views.results.result_file",
    Action.RESULT_DOWNLOAD,
    writer="services.results.record_download",
    page=True,
)
def download(client, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    asset = make_asset(
        state=Asset.State.COPIED,
        file=default_storage.save("results/x.mp4", ContentFile(b"film")),
        media_type="video/mp4",
        size=4,
        sha256="ab" * 32,
    )
    client.force_login(asset.generation.actor)
    return lambda: client.get(f"/results/{asset.pk}/{asset.name}?download=1")


@example("services.result_retention.request_clean_up", Action.RESULT_CLEAN_UP)
def ask_for_clean_up():
    admin = make_superuser()
    return lambda: result_retention.request_clean_up(actor=admin)


@example(
    "services.result_retention.clean_up",
    Action.RESULT_CLEAN_UP,
    writer="services.result_retention._clean_batch",
    by="portal",
)
def clean_up(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    long_ago = now() - timedelta(hours=settings.TASK_RETENTION_HOURS + 1)
    row = make_generation(state=State.COMPLETED)
    Task.objects.filter(pk=row.pk).update(ended_at=long_ago, changed_at=long_ago)
    return lambda: result_retention.clean_up(sleep=lambda _: None)


@example(
    "services.webhooks.receive",
    Action.WEBHOOK_REFUSED,
    writer="services.webhooks._note_refusal",
    result="refused",
    by="portal",
)
def refuse_webhook():
    cache.clear()
    source = make_generation_source(kind="replicate", webhook_secret_sealed=connections.seal(WEBHOOK_SECRET))
    make_generation(source, state=State.PROCESSING, webhook_token="t" * 43)
    forged = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    return lambda: webhooks.receive(source.pk, "t" * 43, forged, b"{}")
