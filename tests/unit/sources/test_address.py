import pytest

from tasks_app.sources.proxmox.address import parse_address


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("pve1", "https://pve1:8006"),
        ("  pve1.example.com \n", "https://pve1.example.com:8006"),
        ("pve1:443", "https://pve1:443"),
        ("https://PVE1.example.com:8006/#v1:0:=node%2Fpve1:4:5::::::", "https://pve1.example.com:8006"),
        ("https://pve1:8006/", "https://pve1:8006"),
        ("https://pve1/pve2/?x=1", "https://pve1:8006"),
        ("http://pve1:8006", "https://pve1:8006"),
        ("192.0.2.7", "https://192.0.2.7:8006"),
        ("192.0.2.7:8007", "https://192.0.2.7:8007"),
        ("2001:db8::1", "https://[2001:db8::1]:8006"),
        ("[2001:DB8::1]", "https://[2001:db8::1]:8006"),
        ("[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443"),
        ("prüfstand.example", "https://xn--prfstand-75a.example:8006"),
    ],
)
def test_what_people_type_becomes_a_base_url(typed, url):
    assert parse_address(typed) == url


@pytest.mark.parametrize(
    "typed",
    ["", " ", "https://", "ftp://pve1", "pve1:port", "pve1:99999", "pve1:0", "user:secret@pve1", "a b", "-x",
     "x" * 300, "pve1\r\nHost: evil", "..", "javascript://x"],
)  # fmt: skip
def test_nonsense_is_refused_in_a_sentence(typed):
    with pytest.raises(ValueError) as caught:
        parse_address(typed)
    assert str(caught.value).endswith(".")
    assert "secret" not in str(caught.value)
