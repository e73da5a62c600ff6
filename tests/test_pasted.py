"""File names as terminals and file managers write them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from llava_ecg.errors import InputError
from llava_ecg.pasted import expanded, file_name, is_dropped

NAMES = (
    "a.hea",
    "my ecg.hea",
    "it's.hea",
    'say "a".hea',
    "a (1) & b; c$d.hea",
    "two  blanks.hea",
    "#1.hea",
    "\u00e4 \u00b5.hea",
    "a\\b.hea",
    "100%.hea",
)


@pytest.mark.parametrize("name", NAMES)
def test_one_name_however_it_is_written(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    escaped = "".join(letter if letter.isalnum() or letter in "/._-" else f"\\{letter}" for letter in path)
    written = [
        path,
        f"  {path} ",
        escaped,
        f"{escaped} ",
        shlex.quote(path),
        (tmp_path / name).as_uri(),
        f"'{(tmp_path / name).as_uri()}'",
    ]
    written += [f'"{path}"'] * ('"' not in name and "\\" not in name)
    written.append((tmp_path / name).as_uri().replace("file://", "FILE://localhost"))
    for text in written:
        unquoted_quotes = text.strip() == path and any(mark in name for mark in "'\"\\")
        if not unquoted_quotes:
            assert file_name(text) == path, text
    (tmp_path / name).touch()
    for text in written:
        assert file_name(text) == path and is_dropped(text.strip()), text


def test_a_name_that_is_there_stays_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my\\ ecg.hea", "'quoted.hea", "a b.hea"):
        Path(name).touch()
        assert file_name(name) == name


def test_names_that_stay_in_pieces_are_taken_whole() -> None:
    assert file_name("my ecg/a.hea") == "my ecg/a.hea"
    assert file_name("it's.hea") == "it's.hea"
    assert file_name('" b.hea"') == " b.hea"
    assert file_name("") == "" and file_name("''") == ""


def test_backslashes_of_windows_are_no_escapes() -> None:
    assert file_name("C:\\Users\\me\\my ecg.hea") == "C:\\Users\\me\\my ecg.hea"
    assert file_name('"C:\\Users\\me\\my ecg.hea"') == "C:\\Users\\me\\my ecg.hea"
    assert file_name("\\\\server\\share\\a.hea") == "\\\\server\\share\\a.hea"
    assert file_name("file:///C:/Users/me/my%20ecg.hea") == "C:/Users/me/my ecg.hea"


def test_several_files_at_once(tmp_path: Path) -> None:
    for name in ("a b.hea", "a b.dat"):
        (tmp_path / name).touch()
    text = f"'{tmp_path}/a b.hea' {tmp_path}/a\\ b.dat"
    with pytest.raises(InputError, match="one file at a time, not 2"):
        file_name(text)
    assert is_dropped(text)


def test_what_is_no_dropped_file(tmp_path: Path) -> None:
    for line in (
        "/open",
        "/ is a slash",
        "'Is the rhythm regular?'",
        "/" + "x" * 5000,
        "~nobody-here/a",
        "Is /tmp a folder?",
        "file:///no%00thing",
        "",
    ):
        assert not is_dropped(line), line


def test_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a" and expanded("~nobody-here/a") == Path("~nobody-here/a")
