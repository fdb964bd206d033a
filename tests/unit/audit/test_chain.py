"""The chain of audit entries: parallel writers never fork it, and whoever touches it by SQL is found out."""

import threading
from datetime import UTC, datetime

import pytest
from django.db import DatabaseError, connection, connections, transaction

from tasks_app.audit.actions import Action
from tasks_app.audit.chain import CHUNK, canonical, plain, seal, verify
from tasks_app.audit.context import Origin, set_origin
from tasks_app.audit.recorder import record
from tasks_app.models import AuditEntry, AuditHead, triggers
from tests.factories import make_source, make_user

TABLE = AuditEntry._meta.db_table


def write(count: int) -> list[AuditEntry]:
    return [record(Action.LOGIN, actor=None, number=number) for number in range(count)]


def run(sql: str, *values: object) -> None:
    """As somebody does who may change the schema."""
    triggers.remove(connection)
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
    triggers.install(connection)


@pytest.mark.django_db
def test_an_empty_trail_is_intact():
    verdict = verify()
    assert verdict.is_intact
    assert verdict.verified == 0


@pytest.mark.django_db
def test_numbers_have_no_gaps_and_each_entry_follows_the_one_before():
    first, second, third = write(3)
    assert [first.number, second.number, third.number] == [1, 2, 3]
    assert (second.previous_hash, third.previous_hash) == (first.hash, second.hash)
    assert verify().verified == 3


@pytest.mark.django_db
def test_an_undone_deed_leaves_neither_entry_nor_gap():
    write(1)

    def deed():
        with transaction.atomic():
            record(Action.LOGIN, actor=None)
            raise ValueError

    with pytest.raises(ValueError):
        deed()
    assert [entry.number for entry in write(1)] == [2]
    assert verify().verified == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    "data",
    [
        {"float": 0.1, "whole": 3.0, "large": 1e22, "nan": float("nan")},
        {"text": "ä \ud800 \0 \u2028 😀", "nested": [{"b": 1, "a": [None, True]}]},
        {"number": 2**53 + 1, "negative": -1},
    ],
    ids=["numbers", "texts", "integers"],
)
def test_what_the_database_gives_back_has_the_same_hash(data):
    set_origin(Origin("r1", "2001:0DB8:0:0::1", "Agent \ud800"))
    try:
        written = record(Action.LOGIN, actor=make_user(), target=make_source(name="prod ü"), **data)
    finally:
        set_origin(Origin())
    assert canonical(AuditEntry.objects.get(pk=written.pk)) == canonical(written)
    assert verify().is_intact


def test_what_is_no_json_is_refused():
    with pytest.raises(TypeError):
        plain({"at": datetime.now(UTC)})


@pytest.mark.django_db
@pytest.mark.parametrize(
    "sql", ["UPDATE {} SET actor_name = 'x'", "DELETE FROM {}"], ids=["update", "delete"]
)
def test_the_database_refuses_changes(sql):
    write(2)
    with (
        pytest.raises(DatabaseError, match=triggers.REFUSAL),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(sql.format(TABLE))
    assert AuditEntry.objects.count() == 2


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no TRUNCATE")
def test_the_database_refuses_truncate():
    write(1)
    with (
        pytest.raises(DatabaseError, match=triggers.REFUSAL),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(f"TRUNCATE {TABLE}")


@pytest.mark.django_db
@pytest.mark.parametrize("column", ["actor_name", "action", "result", "target_name", "ip", "request_id"])
def test_a_changed_entry_is_found(column):
    entry = write(5)[2]
    run(f"UPDATE {TABLE} SET {column} = '10.9.8.7' WHERE id = %s", entry.pk)
    verdict = verify()
    assert (verdict.verified, verdict.bad) == (2, 3)
    assert verdict.problem == "#3 was changed."


@pytest.mark.django_db
def test_a_changed_entry_with_a_fitting_hash_is_found_by_the_next():
    entries = write(5)
    entries[2].actor_name = "somebody else"
    forged = seal(entries[2], entries[2].previous_hash)
    run(f"UPDATE {TABLE} SET actor_name = 'somebody else', hash = %s WHERE id = %s", forged, entries[2].pk)
    assert verify().bad == 4


@pytest.mark.django_db
def test_a_removed_entry_is_found():
    entry = write(5)[2]
    run(f"DELETE FROM {TABLE} WHERE id = %s", entry.pk)
    verdict = verify()
    assert (verdict.bad, verdict.problem) == (3, "#3 is missing.")


@pytest.mark.django_db
def test_an_inserted_entry_is_found():
    write(5)
    run(f"UPDATE {TABLE} SET number = number + 1000 WHERE number > 3")
    run(f"UPDATE {TABLE} SET number = number - 999 WHERE number > 1000")
    AuditEntry.objects.create(
        number=4, previous_hash=AuditEntry.objects.get(number=3).hash, hash="f" * 64, action="person.login"
    )
    assert verify().bad == 4


@pytest.mark.django_db
def test_an_entry_put_in_after_the_end_is_found():
    last = write(3)[-1]
    forged = AuditEntry(number=4, previous_hash=last.hash, action="person.login", actor_name="x")
    forged.hash = seal(forged, last.hash)
    forged.save()
    assert verify().bad == 4


@pytest.mark.django_db
def test_a_cut_off_end_is_found_by_the_head():
    write(5)
    run(f"DELETE FROM {TABLE} WHERE number > 3")
    verdict = verify()
    assert verdict.bad == 4
    assert "cut off" in verdict.problem


@pytest.mark.django_db
def test_an_end_cut_off_together_with_the_head_is_found_by_an_anchor():
    entries = write(5)
    run(f"DELETE FROM {TABLE} WHERE number > 3")
    AuditHead.objects.update(number=3, hash=entries[2].hash)
    assert verify().is_intact  # the database alone cannot tell
    verdict = verify({4: entries[3].hash})
    assert verdict.bad == 4
    assert "anchored" in verdict.problem


@pytest.mark.django_db
def test_a_chain_that_was_written_anew_is_found_by_an_anchor():
    anchored = write(3)[1]
    run(f"DELETE FROM {TABLE}")
    AuditHead.objects.all().delete()
    write(3)
    assert verify().is_intact
    assert verify({2: anchored.hash}).bad == 2


@pytest.mark.django_db
def test_a_missing_head_is_found_and_nothing_is_recorded():
    write(2)
    AuditHead.objects.all().delete()
    assert verify().bad == 1
    with pytest.raises(DatabaseError), transaction.atomic():
        record(Action.LOGIN, actor=None)


@pytest.mark.django_db
def test_a_purge_that_no_entry_tells_of_is_found():
    entries = write(4)
    AuditHead.objects.update(purged_to=2, purged_hash=entries[1].hash)
    AuditEntry.objects.filter(number__lte=2).delete()
    assert verify().bad == 3


@pytest.mark.django_db
def test_longer_chains_are_read_in_chunks(monkeypatch):
    monkeypatch.setattr("tasks_app.audit.chain.CHUNK", 7)
    write(30)
    seen: list[int] = []
    assert verify(on_progress=seen.append).verified == 30
    assert seen == [7, 14, 21, 28]
    assert CHUNK > 100


@pytest.mark.django_db(transaction=True)
def test_eight_parallel_writers_make_one_chain():
    failures: list[BaseException] = []
    start = threading.Barrier(8)

    def writer(number: int) -> None:
        try:
            start.wait(10)
            for turn in range(12):
                try:
                    with transaction.atomic():
                        record(Action.LOGIN, actor=None, writer=number, turn=turn)
                        if turn % 4 == 3:
                            raise ZeroDivisionError
                except ZeroDivisionError:
                    pass
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert list(AuditEntry.objects.order_by("number").values_list("number", flat=True)) == list(range(1, 73))
    assert verify().verified == 72
