"""What messages quote of a file."""

from __future__ import annotations

import pytest

from llava_ecg.ecg.formats.quoting import quoted, without_values
from llava_ecg.ecg.formats.reader import one_line


@pytest.mark.parametrize("cell", ["0.12mV", "1", "-", ".", "1.2e5", "-12,5", "98 %", "***"])
def test_what_is_like_a_number_is_quoted(cell: str) -> None:
    assert quoted(cell) == repr(cell)


@pytest.mark.parametrize(
    "cell", ["Erika", "E", "1955-03-01", "1.3.1955", "03/01/1955", "4711123", "M4711", "12345678", "0.1 Erika", "JS"]
)
def test_what_may_be_a_name_a_birthday_or_a_number_is_not(cell: str) -> None:
    assert quoted(cell) == "text"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("could not convert string to float: 'Erika'", "could not convert string to float: text"),
        ("could not convert string to float: '0.1mV'", "could not convert string to float: '0.1mV'"),
        ("invalid literal for int() with base 10: b'Meier, E'", "invalid literal for int() with base 10: text"),
        ("time data '1955-03-01' does not match format '%d'", "time data text does not match format '%d'"),
        ("Invalid isoformat string: '1955-3-1'", "Invalid isoformat string: text"),
        ("Invalid date for format DD.MM.YY: '01.03.1'", "Invalid date for format DD.MM.YY: text"),
        ("no member 'signal'", "no member 'signal'"),
    ],
)
def test_a_librarys_message_keeps_its_words(said: str, told: str) -> None:
    assert without_values(said) == told
    assert one_line(ValueError(said)) == told
