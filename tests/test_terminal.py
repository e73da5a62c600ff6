"""What a stranger's file says reaches the terminal as text: it can't clear the screen, turn the writing around or fake
a line."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg import cli, files, terminal
from llava_ecg.case import Case
from llava_ecg.chat import Chat
from llava_ecg.ecg import read
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError

STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
EVIL = "X\x1bc\x9b2J\x7f\u202eY"
SHOWN = r"X\x1bc\x9b2J\x7f\u202eY"


@pytest.fixture(scope="module")
def signal() -> np.ndarray:
    """float32 [12, 5000] in mV at 500 Hz."""
    return simulate(Heart(rate_bpm=72), seed=1)[0].signal


@pytest.fixture
def ecg(tmp_path: Path, signal: np.ndarray) -> Callable[[str], Path]:
    """Writes the ECG as a format: seven leads, the last of which has the evil name, with a line end in an npz."""

    def ecg(kind: str) -> Path:
        path, names, leads = tmp_path / f"r.{kind}", [*STANDARD[:6], EVIL], signal[:7]
        if kind == "npz":
            np.savez(path, signal=leads, rate=500, unit="mV", leads=[*names[:-1], EVIL + "\nfine     all is well\t"])
        elif kind == "csv":
            rows = [",".join(f"{value:.4f}" for value in row) for row in leads.T]
            path.write_text("\n".join([",".join(f"{name} (mV)" for name in names), *rows]) + "\n", encoding="utf-8")
        else:
            np.round(leads * 1000).astype("<i2").T.tofile(tmp_path / "r.dat")
            lines = ["r 7 500 5000", *(f"r.dat 16 1000/mV 16 0 0 0 0 {name}" for name in names), f"# Age: {EVIL}"]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return ecg


def printed(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str]:
    """Exit code and all that a command printed, checked to steer nothing."""
    try:
        code = cli.main([str(word) for word in words])
    except SystemExit as left:
        code = int(str(left.code))
    out, err = capsys.readouterr()
    assert not STEERS.findall(out + err), out + err
    return code, out + err


GIVEN = ["--rate", "500"]


@pytest.mark.parametrize("kind", ["npz", "csv", "hea"])
def test_a_lead_name_in_every_command(kind: str, ecg: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, given, name = ecg(kind), GIVEN if kind == "csv" else [], SHOWN
    assert read(path, rate=500).leads[-1].startswith("X\x1b"), "the recording keeps the name as it is"
    (tmp_path / "t.txt").write_text("Sinus rhythm.\x1b[2J The PR\x1b[31m\ninterval is 160 ms in V2.", encoding="utf-8")
    for words in (["measure", path], ["audit", "--ecg", path, "--text", tmp_path / "t.txt"]):
        code, shown = printed(capsys, *words, *given)
        assert code == 0 and name in shown
        assert "\nfine     all is well" not in shown, "a line was faked"
        code, shown = printed(capsys, *words, *given, "--json")
        assert code == 0 and json.loads(shown)["recording"]["leads"][6].startswith("X\x1bc")
    assert printed(capsys, "render", path, *given, "-o", tmp_path / f"{EVIL}.png") == (
        0,
        f"{tmp_path}/{SHOWN}.png (2200 x 1700 pixels)\n",
    )


@pytest.mark.parametrize("kind", ["npz", "csv", "hea"])
def test_an_error_that_quotes_a_file(kind: str, ecg: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = printed(capsys, "ask", "--ecg", ecg(kind), *GIVEN)
    assert code == 2 and SHOWN in shown and "and lacks V1" in shown


@pytest.mark.parametrize(
    "words",
    [
        ["measure", EVIL],
        ["measure", "a", f"--{EVIL}"],
        ["measure", "a", "b\nc\td"],
        ["ask", "--ecg", "a", "--ecg", EVIL],
        ["ask", "--image", EVIL],
        ["ask", "--image", "a", "--out", f"/dev/null/{EVIL}"],
        ["audit", "--ecg", "a", "--text", EVIL],
        ["render", "a", "-o", f"{EVIL}.gif"],
        ["inspect", EVIL],
        ["fetch", EVIL],
        ["list", EVIL],
        [EVIL],
    ],
    ids=lambda words: " ".join(words).encode("unicode_escape").decode(),
)
def test_an_error_that_quotes_the_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, *words)[0] == 2


def test_names_in_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": EVIL, "architectures": [EVIL + "\n"]}))
    assert printed(capsys, "inspect", tmp_path)[0] in (0, 2)
    assert printed(capsys, "inspect", tmp_path, "--json")[0] in (0, 2)


def test_a_plug_in(capsys: pytest.CaptureFixture[str]) -> None:
    from llava_ecg.plugins import readers

    readers.add("evil\x1b[2J", "nowhere\x1b:Reader\n")
    try:
        assert r"evil\x1b[2J" in printed(capsys, "list", "readers")[1]
    finally:
        readers.remove("evil\x1b[2J")


def test_a_warning_quotes_a_file_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: Any, _: Any) -> int:
        warnings.warn(f"left over: {EVIL}\n", stacklevel=1)
        return 0

    monkeypatch.setattr(cli.plugins, "run_list", run)

    def show(
        message: Any, category: Any, filename: str, lineno: int, *_: Any
    ) -> None:  # as Python's own does, in place of pytest's
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))

    monkeypatch.setattr(warnings, "showwarning", show)
    before = warnings.formatwarning
    assert printed(capsys, "list")[1] == f"llava-ecg: warning: left over: {SHOWN}\\n\n"
    assert warnings.formatwarning is before


def test_the_chat(ecg: Any, signal: np.ndarray) -> None:
    shown: list[str] = []
    lines = iter([f"/open {ecg('npz')}", "/measure", f"/open {EVIL}", f"/{EVIL}", "/exit"])
    nobody: Any = type("Nobody", (), {"name": EVIL})
    Chat(nobody, Case(), lambda prompt: next(lines), shown.append).run()
    text = "".join(shown)
    assert text.count(SHOWN) >= 5 and not STEERS.findall(text) and "\nfine     all is well" not in text


def test_piped_lines_are_shown_as_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(f"{EVIL}\n"))
    assert terminal.line_reader({}, ())("you> ") == f"{EVIL}\n"
    assert capsys.readouterr().out == f"you> {SHOWN}\n"


def test_escaping() -> None:
    assert files.printable("a\r\nb\tc µ漢 \u200f") == "a\nb\tc µ漢 \u200f"
    assert files.printable_line("a\nb\tc\r") == r"a\nb\tc\x0d"
    assert files.check_question("Is\x1b it\r\nregular?\x00") == "Is it\nregular?", (
        "a question goes to the model, without them"
    )
    with pytest.raises(InputError, match="empty"):
        files.check_question("\x1b\x00")
