"""The calls as they go over the wire: method, address, parameters, headers; answers are recorded ones."""

import json

import pytest
import responses

from tasks_app.sources.errors import OutcomeUnknown, SourceNeedsPerson, SourceRefused, SourceUnavailable
from tasks_app.sources.proxmox import Connection, ProxmoxSource
from tests.unit.sources.recorded import load_body

BASE = "https://pve1:8006"
API = BASE + "/api2/json"
UPID = "UPID:pve1:00000184:0004BC46:6B0007A1:qmclone:100:ops@pve!t1:"
QUOTED = "UPID%3Apve1%3A00000184%3A0004BC46%3A6B0007A1%3Aqmclone%3A100%3Aops%40pve%21t1%3A"
SECRET = "11112222-3333-4444-5555-666677778888"


def make_connection(secret: str = SECRET, urls: tuple[str, ...] = (BASE,)) -> Connection:
    return Connection("test", urls, (), "", "portal@pve!web", secret)


@pytest.fixture
def source():
    with ProxmoxSource(make_connection()) as source:
        yield source
        source.forget_refusal()


@pytest.fixture
def remote():
    with responses.RequestsMock() as remote:
        yield remote


def answer(remote, method, path, number, **options):
    pair_body = load_body(number)
    remote.add(method, API + path, json=pair_body, **options)


def test_the_token_goes_in_the_header_and_no_cookie_is_needed(remote, source):
    answer(remote, "GET", "/version", 38)
    assert source.fetch_version().text == "9.2.11"
    headers = remote.calls[0].request.headers
    assert headers["Authorization"] == f"PVEAPIToken=portal@pve!web={SECRET}"
    assert headers["Accept-Encoding"] == "identity"
    assert "Cookie" not in headers


def test_cluster_tasks(remote, source):
    answer(remote, "GET", "/cluster/tasks", 123)
    assert source.fetch_cluster_tasks()[0].remote_id == UPID


def test_node_tasks_ask_for_all_sources_since_a_start(remote, source):
    expected = {"source": "all", "since": "1795167972", "limit": "5", "start": "10"}
    answer(remote, "GET", "/nodes/pve1/tasks", 418, match=[responses.matchers.query_param_matcher(expected)])
    page = source.fetch_node_tasks("pve1", since=1795167972, start=10, limit=5)
    assert page.total == load_body(418)["total"]
    assert page.row_count == len(page.observations) == len(load_body(418)["data"])


def test_a_total_that_is_missing_means_zero(remote, source):
    remote.add("GET", API + "/nodes/pve1/tasks", json={"data": []})
    assert source.fetch_node_tasks("pve1", since=None).total == 0


def test_the_upid_is_one_path_component_encoded_once(remote, source):
    answer(remote, "GET", f"/nodes/pve1/tasks/{QUOTED}/status", 216)
    source.fetch_task("pve1", UPID)
    assert remote.calls[0].request.url == f"{API}/nodes/pve1/tasks/{QUOTED}/status"


def test_a_task_that_is_gone_is_not_found(remote, source):
    answer(remote, "GET", f"/nodes/pve1/tasks/{QUOTED}/status", 179, status=400)
    with pytest.raises(SourceRefused) as caught:
        source.fetch_task("pve1", UPID)
    assert caught.value.kind == "not_found"


def test_log_skips_what_is_known(remote, source):
    match = [responses.matchers.query_param_matcher({"start": "3", "limit": "1"})]
    answer(remote, "GET", f"/nodes/pve1/tasks/{QUOTED}/log", 133, match=match)
    page = source.fetch_log("pve1", UPID, after=3, limit=1)
    assert [line.number for line in page.lines] == [4]
    assert page.total == 101


def test_a_page_of_huge_lines_is_asked_for_in_smaller_pages(remote, source):
    asked = []

    def give(request):
        limit = int(request.params["limit"])
        asked.append(limit)
        lines = [{"n": n, "t": "x" * 300_000} for n in range(1, limit + 1)]
        return 200, {}, json.dumps({"data": lines, "total": 1000})

    remote.add_callback("GET", f"{API}/nodes/pve1/tasks/{QUOTED}/log", callback=give)
    page = source.fetch_log("pve1", UPID, after=0, limit=150)
    assert asked == [150, 15]
    assert (len(page.lines), page.total) == (15, 1000)


def test_stop_is_one_delete(remote, source):
    answer(remote, "DELETE", f"/nodes/pve1/tasks/{QUOTED}", 143)
    source.stop_task("pve1", UPID)
    assert remote.calls[0].request.body is None


@pytest.mark.parametrize("verb", ["start", "stop", "shutdown", "reboot"])
@pytest.mark.parametrize("kind", ["qemu", "lxc"])
def test_power_calls_answer_the_task(remote, source, verb, kind):
    remote.add("POST", f"{API}/nodes/pve1/{kind}/100/status/{verb}", json={"data": UPID})
    assert getattr(source, f"{verb}_guest")(kind, "pve1", 100) == UPID


def test_snapshot_sends_only_what_was_given(remote, source):
    match = [responses.matchers.urlencoded_params_matcher({"snapname": "before"})]
    remote.add("POST", f"{API}/nodes/pve1/qemu/100/snapshot", json={"data": UPID}, match=match)
    assert source.create_snapshot("qemu", "pve1", 100, "before") == UPID


def test_clone_of_a_machine(remote, source):
    sent = {"newid": "301", "name": "web-1", "full": "0", "pool": "portal"}
    match = [responses.matchers.urlencoded_params_matcher(sent)]
    remote.add("POST", f"{API}/nodes/pve1/qemu/9000/clone", json={"data": UPID}, match=match)
    assert (
        source.clone_guest("qemu", "pve1", 9000, new_vmid=301, name="web-1", full=False, pool="portal")
        == UPID
    )


def test_clone_of_a_container_calls_its_name_hostname(remote, source):
    match = [responses.matchers.urlencoded_params_matcher({"newid": "301", "hostname": "ct-1"})]
    remote.add("POST", f"{API}/nodes/pve1/lxc/500/clone", json={"data": UPID}, match=match)
    assert source.clone_guest("lxc", "pve1", 500, new_vmid=301, name="ct-1") == UPID


def test_a_deed_that_names_no_task_is_unknown(remote, source):
    remote.add("POST", f"{API}/nodes/pve1/qemu/100/status/start", json={"data": None})
    with pytest.raises(OutcomeUnknown):
        source.start_guest("qemu", "pve1", 100)


def test_next_vmid_is_a_number_although_it_comes_as_text(remote, source):
    answer(remote, "GET", "/cluster/nextid", 45)
    assert source.fetch_next_vmid() == 102


def test_resources_can_be_narrowed(remote, source):
    answer(
        remote,
        "GET",
        "/cluster/resources",
        750,
        match=[responses.matchers.query_param_matcher({"type": "vm"})],
    )
    assert {guest.type for guest in source.fetch_resources("vm")} == {"qemu", "lxc"}


def test_guest_config_nodes_storages_and_permissions(remote, source):
    answer(remote, "GET", "/nodes/pve1/qemu/9000/config", 515)
    answer(remote, "GET", "/nodes", 39)
    answer(remote, "GET", "/nodes/pve1/storage", 469)
    answer(remote, "GET", "/access/permissions", 501)
    assert source.fetch_guest_config("qemu", "pve1", 9000)["name"] == "debian-13-cloud"
    assert source.fetch_nodes()[0].name == "pve1"
    assert [storage.name for storage in source.fetch_storages("pve1")] == ["fast", "local"]
    assert source.fetch_permissions().allows("/", "Sys.Audit")


@pytest.mark.parametrize("node", ["", ".", ".."])
def test_a_node_that_would_leave_its_folder_is_refused_before_sending(source, node):
    with pytest.raises(ValueError):
        source.fetch_storages(node)


def test_a_slash_in_a_name_stays_inside_its_component(remote, source):
    remote.add("GET", API + "/nodes/a%2F..%2Fb/storage", json={"data": []})
    assert source.fetch_storages("a/../b") == []
    assert remote.calls[0].request.url.endswith("/nodes/a%2F..%2Fb/storage")


def test_a_refused_token_is_not_sent_again(remote):
    remote.add("GET", API + "/version", status=401)
    with (
        ProxmoxSource(make_connection("bad-secret-1")) as first,
        ProxmoxSource(make_connection("bad-secret-1")) as second,
    ):
        errors = []
        for source in (first, first, second):
            with pytest.raises(SourceNeedsPerson) as caught:
                source.fetch_version()
            errors.append(str(caught.value))
        assert len(remote.calls) == 1
        assert len(set(errors)) == 1
        first.forget_refusal()
        with pytest.raises(SourceNeedsPerson):
            first.fetch_version()
        assert len(remote.calls) == 2
        first.forget_refusal()


def test_another_token_is_not_held_back_by_a_refused_one(remote, source):
    remote.add("GET", API + "/version", status=401)
    with ProxmoxSource(make_connection("bad-secret-2")) as other:
        with pytest.raises(SourceNeedsPerson):
            other.fetch_version()
        other.forget_refusal()
    answer(remote, "GET", "/version", 38)
    assert source.fetch_version().major == 9


def test_the_secret_is_in_no_text_that_could_be_logged(remote, source):
    remote.add(
        "GET", API + "/version", status=400, json={"data": None, "message": SECRET, "errors": {"x": SECRET}}
    )
    with pytest.raises(SourceRefused) as caught:
        source.fetch_version()
    texts = [repr(make_connection()), repr(source), repr(source._api), repr(source._api._client)]
    texts += [str(caught.value), repr(caught.value), repr(caught.value.fields)]
    assert not any(SECRET in text for text in texts)
    assert "***" in str(caught.value)


@pytest.mark.parametrize(
    ("token_id", "secret"),
    [
        ("portal@pve", SECRET),
        ("portal!web", SECRET),
        ("a@b!c\r\nX: y", SECRET),
        ("a@pve!web", ""),
        ("a@pve!web", "hunter2\n"),
    ],
)
def test_a_token_that_cannot_be_one_is_refused_without_showing_it(token_id, secret):
    with pytest.raises(ValueError) as caught:
        Connection("x", (BASE,), (), "", token_id, secret)
    assert SECRET not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://pve1:8006", "https://user:pw@pve1:8006", "pve1"])
def test_only_plain_https_addresses_are_taken(url):
    with pytest.raises(ValueError):
        ProxmoxSource(make_connection(urls=(url,)))


def test_a_list_that_is_an_object_is_garbage(remote, source):
    remote.add("GET", API + "/cluster/tasks", json={"data": {"a": 1}})
    with pytest.raises(SourceUnavailable):
        source.fetch_cluster_tasks()
