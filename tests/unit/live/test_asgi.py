"""What the web process lets through to the pages."""

from portal.asgi import without_underscores


def test_a_header_with_an_underscore_cannot_stand_for_one_with_a_dash():
    headers = [(b"host", b"localhost"), (b"x_forwarded_for", b"10.0.0.1"), (b"x-forwarded-for", b"10.0.0.2")]
    assert without_underscores({"path": "/", "headers": headers}) == {
        "path": "/",
        "headers": [(b"host", b"localhost"), (b"x-forwarded-for", b"10.0.0.2")],
    }
