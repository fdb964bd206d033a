"""Every deed leaves exactly one entry, in its own transaction: without the entry there is no deed."""

import ast
import importlib
import inspect
import json
from pathlib import Path

import pytest

from tasks_app.audit import recorder
from tasks_app.audit.actions import Action
from tasks_app.audit.context import Origin, set_origin
from tests.unit.audit import examples, finding
from tests.unit.audit.deeds import EXAMPLES, SECRET, Example, TrailBroken, Watch, differences, snapshot

for path in sorted(Path(examples.__file__).parent.glob("*.py")):
    importlib.import_module(f"{examples.__name__}.{path.stem}")

CLICK = Origin("c" * 32, "192.0.2.7", "A browser")
ABOUT_ONESELF = {Action.LOGIN, Action.LOGOUT}
every_example = pytest.mark.parametrize("example", EXAMPLES, ids=[one.id for one in EXAMPLES])


@pytest.fixture
def arrange(request):
    """The call of an example, all that it needs being there; `client` and the like come as it names them."""

    def make(example: Example):
        wanted = inspect.signature(example.arrange).parameters
        return example.arrange(**{name: request.getfixturevalue(name) for name in wanted})

    return make


@pytest.fixture
def watch(monkeypatch):
    def install(*, breaks=False):
        watch = Watch(breaks=breaks)
        monkeypatch.setattr(recorder, "_append", watch)
        set_origin(CLICK)
        return watch

    yield install
    set_origin(Origin())


def test_every_deed_has_an_example():
    lacking = finding.missing(finding.all_deeds(), {example.deed for example in EXAMPLES})
    assert not lacking, "\n".join(lacking)


def test_every_place_that_records_is_reached_by_an_example():
    places = {place for writers in finding.recording().values() for place in writers}
    lacking = sorted(places - {example.writer for example in EXAMPLES})
    assert not lacking, f"No example in tests/unit/audit/examples/ makes these write their entry: {lacking}"


def test_every_word_in_use_is_shown_by_an_example():
    shown = {(example.action.name, example.writer) for example in EXAMPLES}
    used = {(word, place) for word, places in finding.recording().items() for place in places}
    assert not used - shown


@pytest.mark.django_db
@every_example
def test_it_leaves_exactly_one_entry(example, arrange, watch):
    call = arrange(example)
    seen = watch()
    call()
    assert [entry.action for entry in seen.entries] == [example.action] * example.entries
    assert set(seen.writers) == {example.writer}
    for entry in seen.entries:
        assert entry.result == example.result
        assert (entry.actor_id is None) == (example.by == "portal")
        assert (entry.actor_name == "portal") == (example.by == "portal")
        assert entry.target_name or example.action in ABOUT_ONESELF
        kept = json.dumps([entry.data, entry.target_name, entry.target_id])
        assert SECRET not in kept


@pytest.mark.django_db
@every_example
def test_it_tells_where_it_came_from(example, arrange, watch):
    call = arrange(example)
    seen = watch()
    call()
    for entry in seen.entries:
        if example.page:
            assert (len(entry.request_id), entry.ip) == (32, "127.0.0.1")
            assert entry.request_id != CLICK.request_id
        elif example.action is not Action.TASK_BEGAN:  # that carries the request of the click before
            assert (entry.request_id, entry.ip, entry.user_agent) == (
                CLICK.request_id,
                CLICK.ip,
                CLICK.user_agent,
            )


@pytest.mark.django_db
@every_example
def test_without_the_entry_there_is_no_deed(example, arrange, watch):
    call = arrange(example)
    before = snapshot()
    seen = watch(breaks=True)
    with pytest.raises(TrailBroken):
        call()
    assert seen.writers == [example.writer]
    assert differences(before, snapshot()) == {}


# --- that a forgotten entry would be found

FORGETFUL = """
def explode(source, *, actor):
    source.delete()

def look(source, *, reader):
    return source

def _inner(*, actor):
    pass

def may(actor, source):
    return True
"""
HANDING_OUT = """
def page(request):
    return render(request, "x.html")

def take(request, pk):
    return _answer(pk)

def _answer(pk):
    return _stream(pk)

def _stream(pk):
    return StreamingHttpResponse(lines(pk))
"""


def test_a_new_service_without_an_example_is_named():
    found = finding.deeds_of("services.new", ast.parse(FORGETFUL))
    assert found == {"services.new.explode", "services.new.may"}
    (first, _) = finding.missing(found, set())
    assert first.startswith("services.new.explode does something for a person and has no example.")
    assert "tests/unit/audit/examples/" in first
    assert finding.missing(found, found) == []


def test_a_new_page_that_hands_out_a_file_is_named():
    assert finding.deeds_of("views.new", ast.parse(HANDING_OUT)) == {"views.new.take"}


def test_the_search_finds_what_is_there():
    deeds = finding.all_deeds()
    assert {"services.sources.pause_source", "services.orders.submit_order", "views.logs.download"} <= deeds
    assert len(deeds) > 60
    assert len(finding.recording()) > 55


@pytest.mark.parametrize("question", sorted(finding.QUESTIONS))
def test_a_question_changes_nothing(question):
    assert finding.writes_in(question) == set()


@pytest.mark.django_db
def test_a_deed_outside_a_transaction_would_be_found():
    from tests.factories import make_source

    source = make_source()
    before = snapshot()
    type(source).objects.update(name="renamed")
    assert set(differences(before, snapshot())) == {"tasks_app.Source"}
