import pytest

from tasks_app.sources.encoding import repair_text
from tests.unit.sources.recorded import load_body


def test_twice_encoded_text_of_a_recorded_log_becomes_readable():
    assert repair_text(load_body(207)["data"][0]["t"]) == "umlaut äöü euro € emoji 😀"


@pytest.mark.parametrize("text", ["latin1 byte ä alone", "grün", "€", "äöü €", "", "plain"])
def test_text_that_is_right_already_stays(text):
    assert repair_text(text) == text


@pytest.mark.parametrize("text", ["nul [\0]", "\x1b[31mred", "10%\r50%\r100%", "x" * 300_000])
def test_control_characters_and_long_lines_survive(text):
    assert repair_text(text) == text


@pytest.mark.parametrize("text", ["ä", "10 € für alles", "日本語", "a\0ä\r\x1b"])
def test_repair_undoes_exactly_one_encoding(text):
    assert repair_text(text.encode().decode("latin-1")) == text
