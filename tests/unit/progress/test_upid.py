"""UPIDs of all three products are taken apart, anything else is refused."""

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.progress.upid import InvalidUpid, main_vmid, parse_upid, vmids_of

PVE = "UPID:pve1:00113795:1557C2C4:699F82D3:qmtunnel:567:root@pam!ci:"
PBS = r"UPID:backup:000003E8:00000A5C:00000004:699F82D3:verificationjob:main\x3av-b9f3:root@pam:"


def test_pve_form_with_token():
    upid = parse_upid(PVE)
    assert (upid.product, upid.node, upid.pid, upid.type, upid.object_id) == (
        "pve",
        "pve1",
        1128341,
        "qmtunnel",
        "567",
    )
    assert upid.started_at == datetime(2026, 2, 25, 23, 16, 35, tzinfo=UTC)
    assert (upid.user, upid.token, upid.raw, upid.remote, upid.task_id) == ("root@pam", "ci", PVE, "", None)


def test_start_of_process_may_have_nine_digits_and_id_may_be_empty():
    upid = parse_upid("UPID:a-b:00113795:11557C2C4:699F82D3:vzdump::root@pam:")
    assert (upid.node, upid.pstart, upid.object_id, upid.token) == ("a-b", 0x11557C2C4, "", "")


def test_pbs_form_has_a_task_id_and_an_escaped_object():
    upid = parse_upid(PBS)
    assert (upid.product, upid.task_id, upid.object_id) == ("pbs", 4, "main:v/b9f3")


def test_pdm_form_names_the_remote():
    upid = parse_upid(f"pve:cluster-a!{PVE}")
    assert (upid.product, upid.remote, upid.node, upid.user) == ("pdm", "cluster-a", "pve1", "root@pam")
    assert parse_upid(f"pbs:store!{PBS}").task_id == 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        PVE[:-1],
        PVE + "\n",
        " " + PVE,
        PVE.replace("qmtunnel", "qm/tunnel"),
        PVE.replace("pve1", "-pve"),
        f"pbs:remote!{PVE}",
        f"pve:remote!{PBS}",
        "UPID:" + "x" * 300_000,
    ],
)
def test_other_text_is_refused(text):
    with pytest.raises(InvalidUpid):
        parse_upid(text)


@given(st.text())
def test_any_text_is_parsed_or_refused(text):
    with contextlib.suppress(InvalidUpid):
        assert parse_upid(text).raw == text


@pytest.mark.parametrize(
    ("type", "object_id", "vmids"),
    [
        ("qmclone", "100", (100,)),
        ("qmmove", "100-scsi0>101-scsi1", (100, 101)),
        ("move_volume", "100-mp0>102-mp1", (100, 102)),
        ("imgdel", "100@local", (100,)),
        ("imgdel", "local", ()),
        ("vzdump", "", ()),
        ("backup", "store:vm/100", (100,)),
        ("srvstart", "100", ()),
        ("download", "100-debian.iso", ()),
    ],
)
def test_guests_of_an_id(type, object_id, vmids):
    assert vmids_of(type, object_id) == vmids
    assert main_vmid(type, object_id) == (vmids[0] if vmids else None)
