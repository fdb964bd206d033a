"""The wizard against the demo cluster, over real TLS on loopback."""

import html
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from demo.proxmox import DemoCluster
from tasks_app import connections
from tasks_app.audit.actions import Action
from tasks_app.models import AuditEntry, Role, Source
from tests.factories import make_source, make_superuser, make_user

pytestmark = pytest.mark.django_db

STEPS = ["", "certificate/", "token/", "commands/", "check/", "finish/"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[DemoCluster]:
    with DemoCluster(time_scale=0.01) as cluster:
        yield cluster


@pytest.fixture
def admin() -> User:
    return make_superuser()


@pytest.fixture
def wizard(client: Client, admin: User) -> Client:
    client.force_login(admin)
    return client


@pytest.fixture
def web_server(cluster: DemoCluster) -> Iterator[str]:
    """The address of something that speaks HTTPS and is not Proxmox."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"hi")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(next(cluster.state_dir.glob("*.pem")))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def post(wizard: Client, step: str = "", **given: object):
    return wizard.post(f"/sources/add/{step}", given)


def give_address(wizard: Client, *urls: str):
    return post(wizard, urls="\n".join(urls))


def pin(wizard: Client, cluster: DemoCluster):
    give_address(wizard, cluster.url)
    return post(wizard, "certificate/", way="pins", compared=[cluster.fingerprint])


def give_token(wizard: Client, cluster: DemoCluster):
    pin(wizard, cluster)
    return post(wizard, "token/", token_id=cluster.token_id, token_secret=cluster.token_secret)


@pytest.mark.parametrize("step", STEPS)
def test_anonymous_is_led_to_the_sign_in(client: Client, step: str) -> None:
    assert client.get(f"/sources/add/{step}")["Location"].startswith("/account/login/")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("role", [None, Role.VIEWER, Role.OPERATOR])
def test_step_is_refused_without_the_role(client: Client, step: str, role: Role | None) -> None:
    client.force_login(make_user(role))
    assert client.get(f"/sources/add/{step}").status_code == 403
    assert post(client, step, urls="127.0.0.1").status_code == 403


def test_admin_of_one_source_may_not_add_another(client: Client) -> None:
    client.force_login(make_user(Role.ADMIN, source=make_source()))
    assert client.get("/sources/add/").status_code == 403


@pytest.mark.parametrize("step", STEPS[1:])
def test_later_step_leads_back_to_the_first_open_one(wizard: Client, step: str) -> None:
    answer = wizard.get(f"/sources/add/{step}")
    assert (answer.status_code, answer["Location"]) == (302, "/sources/add/")


def test_the_whole_way_connects_the_cluster(wizard: Client, cluster: DemoCluster) -> None:
    assert give_address(wizard, cluster.url)["Location"] == "/sources/add/certificate/"
    page = wizard.get("/sources/add/certificate/").text
    assert cluster.fingerprint[:23] in page
    assert "openssl x509" in page
    assert pin(wizard, cluster)["Location"] == "/sources/add/token/"
    assert "pveum role add PortalView" in wizard.get("/sources/add/token/").text
    assert give_token(wizard, cluster)["Location"] == "/sources/add/check/"
    assert "See the tasks of everybody" in wizard.get("/sources/add/check/").text
    assert "pve2" in wizard.get("/sources/add/finish/").text
    answer = post(wizard, "finish/", name="prod")
    source = Source.objects.get(name="prod")
    assert answer["Location"] == f"/sources/{source.pk}/sync/"
    assert source.urls == [cluster.url]
    assert source.fingerprints == [cluster.fingerprint]
    assert connections.unseal(source.token_secret_sealed) == cluster.token_secret
    assert source.version.startswith("9.")
    assert source.permissions["/"]
    assert AuditEntry.objects.filter(action=Action.SOURCE_ADD, target_name="prod").exists()
    assert "Waiting for the first pass" in wizard.get(answer["Location"]).text


def test_draft_is_forgotten_at_the_end(wizard: Client, cluster: DemoCluster) -> None:
    give_token(wizard, cluster)
    post(wizard, "finish/", name="prod")
    assert wizard.get("/sources/add/check/")["Location"] == "/sources/add/"


def test_secret_is_in_no_answer_no_session_and_no_log(
    wizard: Client, cluster: DemoCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [give_token(wizard, cluster)]
    answers += [wizard.get(f"/sources/add/{step}") for step in STEPS]
    stored = str(dict(wizard.session))
    answers.append(post(wizard, "finish/", name="prod"))
    source = Source.objects.get(name="prod")
    answers += [wizard.get(f"/sources/{source.pk}/"), wizard.get(f"/sources/{source.pk}/token")]
    assert not any(cluster.token_secret in answer.text for answer in answers)
    assert "secret_sealed" in stored
    assert cluster.token_secret not in stored
    assert cluster.token_secret not in caplog.text
    entries = AuditEntry.objects.all()
    assert not any(cluster.token_secret in f"{entry.data}{entry.target_name}" for entry in entries)


def test_refused_port_is_said_on_the_field(wizard: Client) -> None:
    answer = give_address(wizard, closed_port())
    assert answer.status_code == 422
    assert "refuses connections" in answer.text


def test_unknown_name_is_said_on_the_field(wizard: Client) -> None:
    answer = give_address(wizard, "nosuch.invalid")
    assert answer.status_code == 422
    assert "nosuch.invalid:8006 cannot be resolved" in answer.text


def test_server_that_is_not_proxmox_is_said_so(wizard: Client, web_server: str) -> None:
    answer = give_address(wizard, web_server)
    assert answer.status_code == 422
    assert "not a Proxmox VE API" in answer.text


@pytest.mark.parametrize("typed", ["ftp://pve1", "https://root@pve1:8006", "a b@c", "", "https://pve1:99999"])
def test_nonsense_is_refused_before_anything_is_asked(wizard: Client, typed: str) -> None:
    answer = give_address(wizard, typed)
    assert answer.status_code == 422
    assert 'class="field-errors"' in answer.text


def test_silent_address_can_be_left_out(wizard: Client, cluster: DemoCluster) -> None:
    answer = give_address(wizard, closed_port(), cluster.url)
    assert answer.status_code == 422
    assert "Go on with the one that answers" in answer.text
    assert wizard.get("/sources/add/certificate/")["Location"] == "/sources/add/"
    assert wizard.post("/sources/add/", {"continue": "1"})["Location"] == "/sources/add/certificate/"
    post(wizard, "certificate/", way="pins", compared=[cluster.fingerprint])
    post(wizard, "token/", token_id=cluster.token_id, token_secret=cluster.token_secret)
    post(wizard, "finish/", name="prod")
    assert Source.objects.get().urls == [cluster.url]


def test_nothing_can_be_gone_on_with_when_nobody_answers(wizard: Client) -> None:
    give_address(wizard, closed_port())
    assert wizard.post("/sources/add/", {"continue": "1"}).status_code == 422


def test_typed_forms_of_one_address_are_one(wizard: Client, cluster: DemoCluster) -> None:
    host = cluster.url.removeprefix("https://")
    give_address(wizard, host, f"https://{host}/#v1:0:18:4", f"http://{host}/")
    assert len(wizard.session["source_draft"]["addresses"]) == 1


def test_certificate_is_not_pinned_without_the_click(wizard: Client, cluster: DemoCluster) -> None:
    give_address(wizard, cluster.url)
    answer = post(wizard, "certificate/", way="pins")
    assert answer.status_code == 422
    assert "then tick" in answer.text
    assert wizard.get("/sources/add/token/")["Location"] == "/sources/add/certificate/"


def test_other_fingerprint_than_the_shown_one_is_refused(wizard: Client, cluster: DemoCluster) -> None:
    give_address(wizard, cluster.url)
    answer = post(wizard, "certificate/", way="pins", compared=[":".join(["AA"] * 32)])
    assert answer.status_code == 422
    assert "has changed while you compared" in answer.text


def test_untrusted_certificate_cannot_be_taken_for_trusted(wizard: Client, cluster: DemoCluster) -> None:
    give_address(wizard, cluster.url)
    post(wizard, "certificate/", way="system")
    assert wizard.get("/sources/add/token/")["Location"] == "/sources/add/certificate/"


def test_token_is_not_sent_when_the_certificate_changed_meanwhile(wizard: Client) -> None:
    with DemoCluster(time_scale=0.01) as cluster:
        pin(wizard, cluster)
        cluster.change_certificate()
        before = cluster.requests
        answer = post(wizard, "token/", token_id=cluster.token_id, token_secret=cluster.token_secret)
        assert answer.status_code == 422
        assert "another certificate than the pinned one" in answer.text
        assert cluster.requests == before


def certificate_of(cluster: DemoCluster) -> str:
    host, port = cluster.url.removeprefix("https://").split(":")
    return ssl.get_server_certificate((host, int(port)))


@pytest.mark.parametrize("as_file", [True, False])
def test_given_ca_is_tried_and_taken(wizard: Client, cluster: DemoCluster, as_file: bool) -> None:
    give_address(wizard, cluster.url)
    pem = certificate_of(cluster)
    given = {"ca_file": SimpleUploadedFile("ca.pem", pem.encode())} if as_file else {"ca_pem": pem}
    assert post(wizard, "certificate/", way="ca", **given)["Location"] == "/sources/add/token/"
    post(wizard, "token/", token_id=cluster.token_id, token_secret=cluster.token_secret)
    post(wizard, "finish/", name="prod")
    source = Source.objects.get()
    assert (source.fingerprints, source.ca_pem.strip()) == ([], pem.strip())


def test_ca_of_somebody_else_is_refused(wizard: Client, cluster: DemoCluster) -> None:
    with DemoCluster(time_scale=0.01) as other:
        pem = certificate_of(other)
    give_address(wizard, cluster.url)
    answer = post(wizard, "certificate/", way="ca", ca_pem=pem)
    assert answer.status_code == 422
    assert "not trusted" in answer.text


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        ("", "Paste the CA certificate"),
        ("hello", "not a certificate"),
        ("-----BEGIN PRIVATE KEY-----", "private key"),
    ],
)
def test_what_is_no_ca_is_said_so(wizard: Client, cluster: DemoCluster, pem: str, words: str) -> None:
    give_address(wizard, cluster.url)
    answer = post(wizard, "certificate/", way="ca", ca_pem=pem)
    assert answer.status_code == 422
    assert words in answer.text


def test_wrong_secret_is_said_on_its_field(wizard: Client, cluster: DemoCluster) -> None:
    pin(wizard, cluster)
    answer = post(
        wizard, "token/", token_id=cluster.token_id, token_secret="00000000-0000-0000-0000-000000000000"
    )
    assert answer.status_code == 422
    assert answer.context["form"].errors["token_secret"]
    assert "00000000-0000-0000-0000-000000000000" not in answer.text
    assert wizard.get("/sources/add/check/")["Location"] == "/sources/add/token/"


@pytest.mark.parametrize(
    ("token_id", "secret"),
    [("root@pam", "x"), ("portal@pve!web", "has blanks"), ("portal@pve!web", "a=b"), ("", "")],
)
def test_token_of_the_wrong_form_is_not_sent(
    wizard: Client, cluster: DemoCluster, token_id: str, secret: str
) -> None:
    pin(wizard, cluster)
    assert post(wizard, "token/", token_id=token_id, token_secret=secret).status_code == 422


def test_poor_token_shows_what_is_missing_and_may_continue(wizard: Client, cluster: DemoCluster) -> None:
    secret = cluster.add_token("poor@pve", "web", {"/vms": ["PVEAuditor"]})
    pin(wizard, cluster)
    assert post(wizard, "token/", token_id="poor@pve!web", token_secret=secret).status_code == 302
    page = wizard.get("/sources/add/check/").text
    assert "Continue without them" in page
    assert "VM.PowerMgmt" in page
    assert "pveum acl modify" in page
    assert wizard.get("/sources/add/finish/").status_code == 200


def test_repaired_token_is_tried_again_at_once(wizard: Client, cluster: DemoCluster) -> None:
    pin(wizard, cluster)
    given = {"token_id": "soon@pve!web", "token_secret": "22222222-2222-2222-2222-222222222222"}
    assert post(wizard, "token/", **given).status_code == 422
    cluster.add_token("soon@pve", "web", {"/": ["Administrator"]})
    with cluster.cluster.lock:
        token = cluster.cluster.access.tokens["soon@pve!web"]
        cluster.cluster.access.tokens["soon@pve!web"] = replace(token, secret=given["token_secret"])
    assert post(wizard, "token/", **given)["Location"] == "/sources/add/check/"


def test_powerful_token_gets_a_note(wizard: Client, cluster: DemoCluster) -> None:
    secret = cluster.add_token("mighty@pve", "web", {"/": ["Administrator"]})
    pin(wizard, cluster)
    post(wizard, "token/", token_id="mighty@pve!web", token_secret=secret)
    assert "may do more than the portal needs" in wizard.get("/sources/add/check/").text


def test_checking_again_sees_the_repair(wizard: Client, cluster: DemoCluster) -> None:
    secret = cluster.add_token("late@pve", "web", {"/vms": ["PVEAuditor"]})
    pin(wizard, cluster)
    post(wizard, "token/", token_id="late@pve!web", token_secret=secret)
    assert not wizard.session["source_draft"]["permissions"].get("/nodes", {}).get("Sys.Modify")
    cluster.add_token("late@pve", "other", {"/": ["Administrator"]})
    with cluster.cluster.lock:
        cluster.cluster.access.grant("late@pve!web", "/", "Administrator")
    page = post(wizard, "check/").text
    assert "Everything the portal can do is allowed" in page


def test_commands_follow_the_choices(wizard: Client, cluster: DemoCluster) -> None:
    pin(wizard, cluster)
    choices = {"version": "8", "user": "robot@pve", "token": "t1", "power": "on", "pool": "lab"}
    answer = wizard.post("/sources/add/commands/", choices, headers={"HX-Request": "true"})
    assert "pveum user token add robot@pve t1" in answer.text
    assert "/pool/lab" in answer.text
    assert "VM.Snapshot" not in answer.text
    assert "VM.Monitor" in answer.text  # the word of version 8
    assert 'value="robot@pve!t1"' in wizard.get("/sources/add/token/").text


@pytest.mark.parametrize(
    "change",
    [
        {"user": "root; reboot"},
        {"pool": "a b"},
        {"storages": "$(x)"},
        {"templates": "many"},
        {"version": "5"},
    ],
)
def test_commands_hold_nothing_that_a_shell_would_run(
    wizard: Client, cluster: DemoCluster, change: dict
) -> None:
    pin(wizard, cluster)
    given = {"version": "9", "user": "portal@pve", "token": "web", "clone": "on"} | change
    answer = wizard.post("/sources/add/commands/", given, headers={"HX-Request": "true"})
    assert answer.status_code == 422
    assert "pveum" not in answer.text


def test_other_address_needs_trust_and_token_anew(wizard: Client, cluster: DemoCluster) -> None:
    give_token(wizard, cluster)
    give_address(wizard, cluster.url)
    assert "secret_sealed" in wizard.session["source_draft"]
    assert wizard.session["source_draft"]["secret_sealed"] == ""
    assert wizard.get("/sources/add/token/")["Location"] == "/sources/add/certificate/"


def test_name_that_is_taken_is_said_on_the_field(wizard: Client, cluster: DemoCluster) -> None:
    make_source(name="Prod")
    give_token(wizard, cluster)
    answer = post(wizard, "finish/", name="prod")
    assert answer.status_code == 422
    assert "has this name" in answer.text


def test_two_addresses_with_one_certificate_are_compared_once(wizard: Client) -> None:
    with DemoCluster(time_scale=0.01) as cluster:
        second = cluster.add_address()
        give_address(wizard, cluster.url, second)
        page = wizard.get("/sources/add/certificate/").text
        assert page.count('name="compared"') == 1
        assert second.removeprefix("https://") in page


def test_each_node_is_asked_for_its_tasks(wizard: Client, cluster: DemoCluster) -> None:
    cluster.fault("unreachable", path="/nodes/pve3/*")
    pin(wizard, cluster)
    give_token(wizard, cluster)
    post(wizard, "check/")
    nodes = {node["name"]: node for node in wizard.session["source_draft"]["nodes"]}
    assert nodes["pve1"]["problem"] == nodes["pve2"]["problem"] == ""
    assert nodes["pve3"]["problem"]
    page = wizard.get("/sources/add/finish/").text
    assert page.count("not readable") == 1
    assert page.count("readable") == 3
    assert nodes["pve3"]["problem"] in html.unescape(page)
