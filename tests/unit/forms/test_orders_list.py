"""Pasted lists of machines, well-meant and hostile."""

import pytest

from tasks_app.forms.orders_list import MAX_CELL_CHARS, MAX_ROWS, ListRow, UnreadableList, parse_rows


def names(text: str) -> list[str]:
    return [row.name for row in parse_rows(text)]


@pytest.mark.parametrize(
    "text",
    [
        "web-01,ann\nweb-02,bob",
        "web-01,ann\r\nweb-02,bob\r\n",
        "web-01;ann\nweb-02;bob\n",
        "web-01\tann\nweb-02\tbob\n",
        '"web-01","ann"\n"web-02","bob"\n',
        "\ufeffname,owner\nweb-01,ann\nweb-02,bob\n",
        "\ufeffNAME ; Owner ; email\nweb-01; ann; a@example.org\nweb-02; bob; b@example.org\n",
        "owner,name\nann,web-01\nbob,web-02\n",
        "\n\n  web-01 ,  ann \n\n,\nweb-02,bob\n\n",
        "web-01,ann,more,cells\nweb-02,bob",
    ],
)
def test_same_two_machines_in_many_spellings(text: str) -> None:
    assert parse_rows(text) == [ListRow("web-01", "ann"), ListRow("web-02", "bob")]


def test_plain_lines_are_names() -> None:
    assert parse_rows("web-01\nweb-02\n") == [ListRow("web-01"), ListRow("web-02")]


def test_mail_address_heads_a_column_of_owners() -> None:
    assert parse_rows("name,email\nweb-01,ann@example.org") == [ListRow("web-01", "ann@example.org")]


def test_column_of_owners_alone_leaves_the_names_to_the_pattern() -> None:
    assert parse_rows("owner\nann\nbob") == [ListRow("", "ann"), ListRow("", "bob")]


def test_missing_cells_are_empty() -> None:
    assert parse_rows("name,owner\nweb-01\n,bob") == [ListRow("web-01", ""), ListRow("", "bob")]


def test_formulas_are_only_text() -> None:
    assert names("=1+1\n+cmd\n@sum\n-2") == ["=1+1", "+cmd", "@sum", "-2"]


def test_line_break_inside_quotes_stays_one_cell() -> None:
    assert names('"web\n01",ann') == ["web 01"]


def test_long_cell_is_cut_and_stays_too_long_for_a_name() -> None:
    assert names("x" * 5000) == ["x" * MAX_CELL_CHARS]
    assert MAX_CELL_CHARS > 63


def test_as_many_rows_as_an_order_takes_are_read() -> None:
    assert len(names("name\n" + "\n".join(f"n{number}" for number in range(MAX_ROWS)))) == MAX_ROWS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x\n" * (MAX_ROWS + 1), "at most 300"),
        ("x\n" * (MAX_ROWS + 5), "at most 300"),
        ("x," * 5_000_000, "too long"),
        ("\n" * 10_000_000, "too long"),
        ("web\x0001", "NUL"),
        ('web-01,"ann\nweb-02,bob', "a quote is not closed"),
        ('"web-01"x,ann', "Line 1"),
    ],
)
def test_what_is_no_list_is_told(text: str, words: str) -> None:
    with pytest.raises(UnreadableList, match=words):
        parse_rows(text)


@pytest.mark.parametrize("text", ["", " ", "\n\r\n", "\ufeff", ",,,\n;;;", "name,owner\n"])
def test_empty_list_has_no_rows(text: str) -> None:
    assert parse_rows(text) in ([], [ListRow(";;;", "")])
