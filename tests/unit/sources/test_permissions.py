import re
import shlex

import pytest

from tasks_app.sources.proxmox.inventory import Version
from tasks_app.sources.proxmox.permissions import check_functions, find_excess, parse_permissions
from tasks_app.sources.proxmox.pveum import pveum_commands
from tests.unit.sources.recorded import load_body

PVE9 = Version("9.2.11", "9.2", 9)
PVE8 = Version("8.4.1", "8.4", 8)
TOKEN = "portal@pve!web"


def recorded():
    return parse_permissions(load_body(501)["data"])


def checks_for(permissions, version=PVE9, **context):
    return {
        check.function: check for check in check_functions(permissions, version, token_id=TOKEN, **context)
    }


def test_a_listed_path_is_complete_and_inherits_nothing():
    permissions = recorded()
    assert permissions.allows("/vms", "Sys.Audit")
    assert permissions.allows("/vms/9000", "VM.Clone")
    assert not permissions.allows("/vms/9000", "Sys.Audit")


def test_an_unlisted_path_inherits_from_its_nearest_ancestor():
    permissions = recorded()
    assert permissions.allows("/vms/12345", "VM.Audit")
    assert permissions.allows("/nodes/pve1", "Sys.Audit")
    assert not permissions.allows("/storage/other", "Datastore.AllocateSpace")
    assert not permissions.allows("/vms/9000/deeper", "Sys.Audit")


def test_a_privilege_that_does_not_reach_down_stays_on_its_path():
    permissions = parse_permissions({"/": {"Sys.Audit": 0, "VM.Audit": 1}})
    assert permissions.allows("/", "Sys.Audit")
    assert not permissions.allows("/nodes", "Sys.Audit")
    assert permissions.allows("/vms/1", "VM.Audit")


def test_one_of_several_alternatives_is_enough():
    permissions = parse_permissions({"/vms": {"VM.GuestAgent.Unrestricted": 1}})
    assert permissions.allows("/vms/1", "VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted")
    assert not permissions.allows("/vms/1", "VM.GuestAgent.Audit")


def test_a_token_without_anything_may_nothing():
    permissions = parse_permissions(load_body(48)["data"])
    assert not any(check.allowed for check in checks_for(permissions).values())
    assert not permissions.allows("/", "Sys.Audit")


def test_the_recorded_least_privilege_token_can_do_all_but_cancel_for_others_and_back_up():
    context = {"pool": "portal", "templates": [9000], "storages": ["local"], "bridges": ["vmbr0"]}
    for checks in (checks_for(recorded()), checks_for(recorded(), **context)):
        assert [name for name, check in checks.items() if not check.allowed] == [
            "cancel_others",
            "backup",
        ]
    assert find_excess(recorded()) == []


def test_a_refusal_names_privilege_path_and_cure():
    check = checks_for(recorded())["cancel_others"]
    assert (check.privilege, check.path) == ("Sys.Modify", "/nodes")
    assert check.command.splitlines() == [
        'pveum role add PortalCancel --privs "Sys.Audit Sys.Modify"'
        ' || pveum role modify PortalCancel --privs "Sys.Audit Sys.Modify"',
        "pveum acl modify /nodes --users portal@pve --roles PortalCancel",
        "pveum acl modify /nodes --tokens 'portal@pve!web' --roles PortalCancel",
    ]


def test_a_missing_right_to_back_up_is_cured_without_touching_the_other_roles():
    check = checks_for(recorded(), pool="portal")["backup"]
    assert (check.privilege, check.path) == ("VM.Backup", "/pool/portal")
    assert 'pveum role add PortalBackup --privs "VM.Backup"' in check.command
    assert "PortalVM" not in check.command


def test_configuring_needs_every_one_of_its_privileges():
    held = dict(load_body(501)["data"]["/pool/portal"])
    del held["VM.Config.Memory"]
    permissions = parse_permissions({"/": {"VM.Audit": 1}, "/pool/portal": held})
    check = checks_for(permissions, pool="portal")["configure"]
    assert (check.allowed, check.privilege, check.path) == (False, "VM.Config.Memory", "/pool/portal")


@pytest.mark.parametrize(
    ("version", "privilege", "allowed"),
    [
        (PVE9, "VM.GuestAgent.Audit", True),
        (PVE9, "VM.GuestAgent.Unrestricted", True),
        (PVE9, "VM.Monitor", False),
        (PVE8, "VM.Monitor", True),
        (PVE8, "VM.GuestAgent.Audit", False),
    ],
)
def test_the_agent_is_asked_with_the_privilege_of_the_version(version, privilege, allowed):
    permissions = parse_permissions({"/pool/portal": {privilege: 1}})
    assert checks_for(permissions, version, pool="portal")["addresses"].allowed is allowed
    assert checks_for(permissions, version)["addresses"].allowed is allowed


def test_a_named_template_without_its_role_is_refused_for_that_template():
    check = checks_for(recorded(), templates=[9000, 9001])["clone"]
    assert (check.allowed, check.privilege, check.path) == (False, "VM.Clone", "/vms/9001")
    assert "pveum acl modify /vms/9001" in check.command


def test_a_privilege_on_a_pool_counts_for_guests():
    check = checks_for(recorded())["power"]
    assert (check.allowed, check.path, check.command) == (True, "/pool/portal", "")


def test_bridges_need_no_privilege_before_pve_8():
    assert "clone_network" not in checks_for(recorded(), Version("7.4-3", "7.4", 7))


def test_an_administrators_token_can_do_more_than_it_should():
    permissions = parse_permissions({"/": {"Permissions.Modify": 1, "Sys.Modify": 1, "Sys.Audit": 1}})
    (excess,) = find_excess(permissions)
    assert (excess.path, excess.privileges) == ("/", ("Permissions.Modify", "Sys.Modify"))


def test_modify_on_nodes_is_no_excess():
    assert find_excess(parse_permissions({"/nodes": {"Sys.Modify": 1}})) == []


def script(version=PVE9, **options):
    everything = {"pool": "portal", "templates": [9000], "storages": ["local-lvm"], "bridges": ["vmbr0"]}
    return pveum_commands(version, **(everything | options))


def roles_in(text):
    return {m[1]: set(m[2].split()) for m in re.finditer(r'role add (\w+) --privs "([^"]*)"', text)}


def test_the_script_grants_what_the_recorded_token_has():
    """The recording was made with this script's grants; every listed path must hold exactly its role."""
    text, held = script(storages=["local"]), load_body(501)["data"]
    roles = roles_in(text)
    assert roles["PortalVM"] == set(held["/pool/portal"])
    assert roles["PortalStorage"] == set(held["/storage/local"])
    assert roles["PortalView"] == set(held["/nodes"])
    granted = {m[1]: m[2] for m in re.finditer(r"acl modify (\S+) \$who --roles (\w+)", text)}
    assert granted == {
        "/": "PortalView",
        "/pool/portal": "PortalVM",
        "/vms/9000": "PVETemplateUser",
        "/storage/local": "PortalStorage",
        "/sdn/zones/localnetwork/vmbr0": "PVESDNUser",
    }
    assert set(granted) - {"/"} <= set(held)


def test_backups_are_granted_by_a_role_of_their_own_when_asked():
    assert "VM.Backup" not in script()
    text = script(backups=True)
    assert roles_in(text)["PortalBackup"] == {"VM.Backup"}
    assert "acl modify /pool/portal $who --roles PortalBackup" in text
    assert "acl modify /pool/portal $who --roles PortalVM" in text


def test_every_function_is_covered_by_the_complete_script():
    """What the script grants, given to the check as the source would show it."""
    text = script(cancel_others=True, backups=True, storages=["local"])
    known = {"PVETemplateUser": {"VM.Audit", "VM.Clone"}, "PVESDNUser": {"SDN.Audit", "SDN.Use"}}
    roles = roles_in(text) | known
    held = {}
    for path, role in re.findall(r"acl modify (\S+) \$who --roles (\w+)", text):
        held.setdefault(path, {}).update(dict.fromkeys(roles[role], 1))
    context = {"pool": "portal", "templates": [9000], "storages": ["local"], "bridges": ["vmbr0"]}
    checks = checks_for(parse_permissions(held), **context)
    assert [name for name, check in checks.items() if not check.allowed] == []


def test_pve_8_gets_the_words_it_knows():
    privileges = roles_in(script(PVE8))["PortalVM"]
    assert "VM.Monitor" in privileges
    assert not any(name.startswith("VM.GuestAgent") for name in privileges)


def test_cancelling_for_others_is_only_granted_when_asked():
    assert "Sys.Modify" not in script()
    assert "acl modify /nodes $who --roles PortalCancel" in script(cancel_others=True)


def test_a_portal_that_only_looks_gets_only_that():
    text = script(power=False, snapshots=False, clone=False)
    assert set(roles_in(text)) == {"PortalView"}
    assert re.findall(r"acl modify (\S+)", text) == ["/"]


def test_power_without_cloning_may_not_make_guests():
    privileges = roles_in(script(clone=False))["PortalVM"]
    assert "VM.PowerMgmt" in privileges
    assert "VM.Allocate" not in privileges


def test_every_line_of_the_script_is_shell_and_gives_both_user_and_token():
    text = script()
    assert shlex.split(text, comments=False)
    assert "for who in '--users portal@pve' '--tokens portal@pve!web'; do" in text


@pytest.mark.parametrize(
    "options",
    [
        {"user": "root@pam; reboot"},
        {"user": "portal"},
        {"user": "a'b@pve"},
        {"token": "web$(reboot)"},
        {"pool": "x\nreboot"},
        {"storages": ["local; reboot"]},
        {"bridges": ["vmbr0`reboot`"]},
    ],
)
def test_names_that_could_be_commands_are_refused(options):
    with pytest.raises(ValueError, match=r"name"):
        script(**options)
