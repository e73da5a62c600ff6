"""Texts that end an answer: the same ones, however it is asked for."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from llava_ecg import cli
from llava_ecg.assistant import Answer, Assistant, Question
from llava_ecg.case import Case, Decoding
from llava_ecg.chat import Chat
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from llava_ecg.revising import ask_revised

from .test_assistant import folder, slowly

QUESTION = [Turn("user", "Interpret this ECG.")]
TOKENS = 30


@pytest.fixture(scope="module")
def recording() -> Recording:
    """72 beats a minute."""
    return simulate(Heart(rate_bpm=72), seed=1)[0]


@pytest.fixture(scope="module")
def assistant(tmp_path_factory: pytest.TempPathFactory, letters: Any) -> Assistant:
    """A tiny one on weights drawn by chance."""
    return Assistant.open(folder(tmp_path_factory.mktemp("stop"), letters), device="cpu")


@pytest.fixture(scope="module")
def stopped(assistant: Assistant, recording: Recording) -> tuple[tuple[str, ...], str]:
    """Stop texts, of which the second comes first and the last never, and the answer before it."""
    whole = assistant.ask(QUESTION, Case(recording), Decoding(max_new_tokens=TOKENS)).text
    later, stop = whole[14:18], whole[8:11]
    begin = whole[: whole.index(stop)].strip()
    assert begin and whole.index(later) > whole.index(stop)
    return (later, stop, "\x01never"), begin


@pytest.mark.parametrize("way", ["engine", "generate"])
def test_the_first_that_comes_ends_it_and_is_not_shown(
    assistant: Assistant, recording: Recording, stopped: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Asked alone, among many, prepared, and asked so that it may be asked again."""
    if way == "generate":
        slowly(monkeypatch)
    case, (stop, begin) = Case(recording), stopped
    decoding, pieces = Decoding(max_new_tokens=TOKENS, stop=stop), list[str]()
    answer = assistant.ask(QUESTION, case, decoding, on_text=pieces.append)
    assert (answer.text, answer.finished, "".join(pieces).strip()) == (begin, "stop", begin)
    ((_, among),) = assistant.ask_many([Question(QUESTION, case)], decoding)
    assert isinstance(among, Answer) and (among.text, among.finished) == (begin, "stop")
    ((asked, error),) = assistant.run([assistant.prepare(Question(QUESTION, case), decoding)])
    assert error is None and assistant.answer(asked).text == begin
    assert ask_revised(assistant, QUESTION, case, decoding, most=1).text == begin


def test_in_a_chat(assistant: Assistant, recording: Recording, stopped: Any, tmp_path: Path) -> None:
    stop, begin = stopped
    lines = ["Interpret this ECG.", f"/save {tmp_path / 'a.json'}", "/exit"]
    decoding, shown = Decoding(max_new_tokens=TOKENS, stop=stop), io.StringIO()
    Chat(assistant, Case(recording), lambda _: lines.pop(0), shown.write, decoding=decoding).run()
    saved = json.loads((tmp_path / "a.json").read_text())
    assert saved["decoding"]["stop"] == list(stop)
    assert [(each["answer"], each["finished"]) for each in saved["exchanges"]] == [(begin, "stop")]


def test_the_flag_of_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr("llava_ecg.chat.run", lambda *_, **more: given.update(more) or 0)
    assert cli.main(["chat", "--stop", "END", "--stop", "\n"], open_assistant=lambda *_, **__: None) == 0
    assert given["decoding"].stop == ("END", "\n")


@pytest.mark.parametrize("wrong", ["END", [""], ["a", 3]])
def test_what_is_no_stop(wrong: Any) -> None:
    with pytest.raises(InputError, match="stop is a sequence of texts"):
        Decoding(stop=wrong)


def test_a_list_is_as_good_as_a_tuple() -> None:
    assert hash(Decoding(stop=["a"])) == hash(Decoding(stop=("a",)))
    assert Decoding(stop=["a"]) == Decoding(stop=("a",))
