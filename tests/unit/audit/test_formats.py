"""Lines of exports: what somebody made up stays in its cell."""

import csv
import io
import json
import re
from datetime import datetime, timedelta, timezone

import pytest

from tasks_app.audit.formats import (
    LONGEST_SHIPPED,
    Column,
    Format,
    Layout,
    Record,
    Severity,
    format_time,
    syslog_message,
    writer_of,
)

LAYOUT = Layout(
    "audit",
    (
        Column("number", "externalId", is_number=True),
        Column("name", "suser"),
        Column("ip", "src"),
        Column("object", "cs1", "Object"),
        Column("data", "portalData"),
    ),
)
AT = datetime(2026, 11, 20, 14, 30, 5, 123456, tzinfo=timezone(timedelta(hours=1)))


def make(
    who="alice", *, number=7, ip=None, object="", data=None, sentence="alice: task.cancel (done)", **more
):
    values = {"number": number, "name": who, "ip": ip, "object": object, "data": data}
    defaults = {"at": AT, "name": "task.cancel", "severity": Severity.INFO}
    return Record(values=values, sentence=sentence, **(defaults | more))


def line(format, record, *, host="portal.example"):
    return writer_of(format, LAYOUT, host=host).line(record).decode()


def cells(record):
    return next(csv.reader(io.StringIO(line(Format.CSV, record), newline="")))


def test_a_time_is_iso_in_utc():
    assert format_time(AT) == "2026-11-20T13:30:05.123456Z"


# CSV


def test_a_csv_file_has_a_header_and_may_have_a_byte_order_mark():
    assert writer_of(Format.CSV, LAYOUT, host="h").head == b"number,name,ip,object,data\r\n"
    assert writer_of(Format.CSV, LAYOUT, host="h", bom=True).head.startswith(b"\xef\xbb\xbfnumber,")
    assert writer_of(Format.JSONL, LAYOUT, host="h", bom=True).head == b""


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\tx",
        "\r=1",
        "\rx",
        "\n=1",
        '"=1',
        "'=1",
        ' "=1',
        " =1",
        "\ufeff=1",
        "＝1",
    ],
    ids=lambda text: repr(text).replace("\\", ""),
)
def test_a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe(text):
    assert cells(make(text))[1] == f"'{text}"


@pytest.mark.parametrize("text", ["alice", "a=b", "a-b", "3-4", "'quoted'", "user@realm", "", "ä=ü"])
def test_any_other_text_stays_as_it_is(text):
    assert cells(make(text))[1] == text


def test_numbers_stay_numbers_in_columns_of_numbers_alone():
    assert cells(make("-5", number=-5))[:2] == ["-5", "'-5"]
    assert cells(make(number="-5"))[0] == "'-5"  # text in a column of numbers is text


@pytest.mark.parametrize("text", ['a,"b"', "a\r\nb", "a\nb", "a;b", 'ends with "'], ids=range(5))
def test_commas_quotes_and_line_breaks_stay_in_their_cell(text):
    assert cells(make(text, object="next"))[1:4] == [text, "", "next"]
    assert line(Format.CSV, make(text)).endswith("\r\n")


def test_nothing_is_an_empty_cell_json_is_json_and_nul_is_replaced():
    assert cells(make("a\0b", data={"b": 1, "a": ["ü", None]}))[1:] == [
        "a�b",
        "",
        "",
        '{"a":["\\u00fc",null],"b":1}',
    ]


# JSON Lines


def test_a_line_of_json_has_sorted_keys_and_is_ascii():
    text = line(Format.JSONL, make("Jörg\n\u2028", data={"b": 1, "a": None}))
    assert text.isascii() and text.count("\n") == 1
    assert list(json.loads(text)) == ["data", "ip", "name", "number", "object"]
    assert json.loads(text)["name"] == "Jörg\n\u2028"
    assert ", " not in text and ": " not in text


# syslog

SYSLOG = re.compile(
    r"<(?P<pri>\d+)>1 (?P<time>\S+) (?P<host>\S+) task-portal - (?P<id>\S+) "
    r'\[(?P<sd>\S+)(?P<parameters>(?: [\w]+="(?:[^"\\\]]|\\.)*")*)\] (?P<text>.*)\n',
    re.DOTALL,
)


def parse_syslog(text):
    found = SYSLOG.fullmatch(text)
    assert found, text
    pairs = re.findall(r' (\w+)="((?:[^"\\\]]|\\.)*)"', found["parameters"])
    return found, {name: re.sub(r'\\(["\\\]])', r"\1", value) for name, value in pairs}


@pytest.mark.parametrize("severity", list(Severity), ids=lambda severity: severity.name)
def test_a_message_has_the_facility_of_audits_and_its_own_severity(severity):
    found, parameters = parse_syslog(line(Format.SYSLOG, make(severity=severity)))
    assert int(found["pri"]) == 13 * 8 + severity
    assert (found["time"], found["host"], found["id"], found["sd"]) == (
        "2026-11-20T13:30:05.123456Z",
        "portal.example",
        "task.cancel",
        "audit@32473",
    )
    assert found["text"] == "alice: task.cancel (done)"
    assert parameters == {"number": "7", "name": "alice"}


def test_values_cannot_leave_their_parameter():
    name = 'x" evil="1"] <13>1 - \\'
    _, parameters = parse_syslog(line(Format.SYSLOG, make(name, data={"a": '"]'})))
    assert parameters["name"] == name
    assert json.loads(parameters["data"]) == {"a": '"]'}


def test_nothing_begins_a_line_of_its_own():
    text = line(
        Format.SYSLOG, make("a\n<104>1 forged\r\0\x7f\x85", sentence="a\nb", name="x\ny z"), host="h\n x"
    )
    assert text.count("\n") == 1
    found, parameters = parse_syslog(text)
    assert parameters["name"] == "a#012<104>1 forged#015#000#177#205"
    assert (found["text"], found["id"], found["host"]) == ("a#012b", "x_y_z", "h_x")


def test_a_text_beyond_ascii_is_marked_as_utf_8():
    found, parameters = parse_syslog(line(Format.SYSLOG, make("Jörg", sentence="Jörg: x")))
    assert found["text"] == "\ufeffJörg: x"
    assert parameters["name"] == "Jörg"


def test_words_have_the_length_that_receivers_take():
    found, _ = parse_syslog(line(Format.SYSLOG, make(name="a" * 60), host="h" * 300))
    assert (len(found["id"]), len(found["host"])) == (32, 255)
    found, _ = parse_syslog(line(Format.SYSLOG, make(name=""), host=""))
    assert (found["id"], found["host"]) == ("-", "-")


@pytest.mark.parametrize(
    ("record", "cut"),
    [
        (make(data={"a": "x" * 20_000}), "data"),
        (make("ü" * 20_000, sentence="ü" * 20_000, data={"a": "x" * 20_000}), "values"),
    ],
    ids=["data", "values"],
)
def test_a_huge_message_is_cut_to_what_receivers_take_and_says_so(record, cut):
    message = syslog_message(LAYOUT, record, host="h", longest=LONGEST_SHIPPED)
    assert len(message) <= LONGEST_SHIPPED
    _, parameters = parse_syslog(message.decode() + "\n")
    assert (parameters["number"], parameters["cut"]) == ("7", cut)
    assert len(syslog_message(LAYOUT, record, host="h")) > 20_000  # files are not cut


# CEF


def parse_cef(text):
    assert text.endswith("\n") and text.count("\n") == 1
    *head, extension = re.split(r"(?<!\\)(?:\\\\)*\|", text[:-1], maxsplit=7)
    pairs = re.findall(r"(\w+)=((?:[^=\\]|\\.)*?)(?= \w+=|$)", extension)
    unescape = {"\\\\": "\\", "\\=": "=", "\\n": "\n", "\\r": "\r"}
    return head, {key: re.sub(r"\\.", lambda found: unescape[found[0]], value) for key, value in pairs}


def test_a_cef_line_has_its_header_and_no_empty_values():
    head, values = parse_cef(line(Format.CEF, make(ip="10.0.0.7", object="web")))
    assert head == ["CEF:0", "Task portal", "audit", "1", "task.cancel", "alice: task.cancel (done)", "3"]
    assert values == {
        "rt": "1795181405123",
        "dvchost": "portal.example",
        "externalId": "7",
        "suser": "alice",
        "src": "10.0.0.7",
        "cs1": "web",
        "cs1Label": "Object",
    }


def test_an_address_of_ipv6_has_its_own_key():
    _, values = parse_cef(line(Format.CEF, make(ip="2001:db8::7")))
    assert (values["c6a2"], values["c6a2Label"]) == ("2001:db8::7", "Source IPv6 Address")
    assert "src" not in values


def test_values_cannot_leave_their_field():
    name = "x suid=0 |\\\r\nCEF:0|evil"
    head, values = parse_cef(line(Format.CEF, make(name, sentence="a|b\\c\nd=e", name="x|y")))
    assert head[4:6] == ["x\\|y", "a\\|b\\\\c d=e"]
    assert values["suser"] == name
    assert "suid" not in values


@pytest.mark.parametrize("format", list(Format))
def test_half_a_surrogate_pair_and_control_characters_break_no_format(format):
    text = line(format, make("a\ud800\0\x1b[31m\u2028", sentence="\ud800\0\n", data={"\ud800": "\0"}))
    assert text.count("\n") == 1


def test_formats_know_their_files():
    assert [(format.value, format.ending) for format in Format] == [
        ("csv", "csv"),
        ("jsonl", "jsonl"),
        ("syslog", "log"),
        ("cef", "cef"),
    ]
