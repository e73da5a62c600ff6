"""The conversation: what the assistant is told, what is shown, what a mistake costs. Lines come from a list, answers
from a script."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llava_ecg import chat as module
from llava_ecg import files, terminal
from llava_ecg.assistant import Answer
from llava_ecg.case import Case, Decoding
from llava_ecg.chat import Chat
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from llava_ecg.grounding.answer import TREATMENT, audit_answer

CTRL_C = object()


class Assistant:
    """Says its script word by word; a callable in the script is called between two words."""

    name = "stand-in"

    def __init__(self, *script: Any) -> None:
        self.script = script or ("The heart rate is 72 bpm",)
        self.asked: list[list[tuple[str, str]]] = []

    def ask(
        self, turns: Any, case: Case, decoding: Any, *, on_text: Callable[[str], None], cancelled: Callable[[], bool]
    ) -> Answer:
        self.asked.append([(turn.role, turn.text) for turn in turns])
        text, finished = "", "stop"
        for part in self.script:
            if cancelled():
                finished = "cancelled"
                break
            if callable(part):
                part()
                continue
            text += part
            on_text(part)
        return Answer(
            text,
            self.name,
            {"new": 3},
            {"total": 0.5},
            finished,
            ("a note",),
            audit_answer(turns[-1].text, text, case.measurements),
        )


@pytest.fixture(scope="module")
def recording() -> Recording:
    """72 beats a minute."""
    return simulate(Heart(rate_bpm=72), seed=1)[0]


@pytest.fixture
def talk(recording: Recording) -> Callable[..., tuple[str, Chat]]:
    """Put lines (or CTRL_C) to a chat: all that it showed, and the chat."""

    def talk(
        *lines: Any, assistant: Assistant | None = None, case: Case | None = None, **more: Any
    ) -> tuple[str, Chat]:
        waiting, shown = list(lines), io.StringIO()

        def read(prompt: str) -> str:
            shown.write(prompt)
            if not waiting:
                raise EOFError
            line = waiting.pop(0)
            if line is CTRL_C:
                raise KeyboardInterrupt
            shown.write(line + "\n")
            return line

        answering: Any = assistant or Assistant()
        chat = Chat(answering, Case(recording) if case is None else case, read, shown.write, **more)
        assert chat.run() == 0
        assert not waiting or lines[-len(waiting) - 1] in ("/exit", "/quit")
        return shown.getvalue(), chat

    return talk


def test_banner_says_who_answers_what_is_open_and_where_help_is(talk: Any) -> None:
    shown, _ = talk()
    assert "stand-in - Research use only; not a medical device." in shown
    assert "/help" in shown and "12 leads, 500 Hz, 10.0 s" in shown
    assert "nothing is open" in talk(case=Case())[0]


def test_several_turns_keep_their_context(talk: Any) -> None:
    assistant = Assistant()
    shown, chat = talk("Rate?", "", "And now?", assistant=assistant)
    first = [("user", "Rate?"), ("assistant", "The heart rate is 72 bpm"), ("user", "And now?")]
    assert assistant.asked == [first[:1], first]
    assert shown.count("[1 claim: 1 supported; /audit shows them]") == 2
    assert shown.count("[a note]") == 1, "a note is repeated with every answer"
    assert len(chat.exchanges) == 2


def test_a_question_about_nothing(talk: Any) -> None:
    assistant = Assistant()
    shown, _ = talk("Rate?", "/measure", "/page", "/audit", "/image", assistant=assistant, case=Case())
    assert "nothing is open yet; /open FILE" in shown and not assistant.asked
    assert "no signal to measure" in shown and "there is no page" in shown and "no answer yet" in shown


def test_help_names_every_command(talk: Any) -> None:
    shown, _ = talk("/help")
    assert not [name for name in module.COMMANDS if f"  {name} " not in shown]


def test_unknown_commands_get_the_nearest_names(talk: Any, tmp_path: Path) -> None:
    shown, chat = talk("/audti", "/xyzzy", "/clear now", "/open", f"{tmp_path}/a.hea")
    assert "unknown command /audti; did you mean /audit" in shown
    assert "unknown command /xyzzy; /help lists them" in shown
    assert "/clear takes nothing after it" in shown and "/open needs a file: /open FILE" in shown
    assert "/exit" in talk("/" + "x" * 5000, "/image " + "x" * 5000, "/page ~nobody-here/p.png", "/exit")[0]
    (tmp_path / "a.hea").write_text("")
    assert f"/open {tmp_path}/a.hea" in talk(f"{tmp_path}/a.hea")[0]


def test_measure_and_audit(talk: Any) -> None:
    shown, chat = talk("Rate?", "/measure", "/audit")
    assert chat.case.measurements.table() in shown
    assert "1 supported" in shown and "rate 72" in shown


def test_what_was_not_checked_is_said_at_once(talk: Any) -> None:
    shown, _ = talk("How is the ST segment?", "Should I give aspirin?")
    assert "[1 claim: 1 supported; not checked: ST segment; /audit shows them]" in shown
    assert shown.count(f"[{TREATMENT}]") == 1


def test_audit_marks_the_page(talk: Any, tmp_path: Path) -> None:
    target = tmp_path / "marked.png"
    shown, _ = talk("Rate?", f"/audit {target}", f"/audit {target}", f"/audit {tmp_path / 'x.gif'}")
    assert f"marked page written to {target} (1600 x" in shown and Image.open(target).width == 1600
    assert "exists already" in shown and ".png" in shown
    shown, _ = talk("Rate?", f"/audit {tmp_path / 'y.png'}", case=Case(image=Image.new("RGB", (60, 40))))
    assert "there is no signal whose waves could be marked" in shown and not (tmp_path / "y.png").exists()


def test_open_begins_a_new_conversation(talk: Any, recording: Recording) -> None:
    assistant = Assistant()
    other = recording.window(0, 5)
    shown, chat = talk("Rate?", '/open " b.hea"', "Again?", assistant=assistant, open_recording=lambda path: other)
    assert chat.case.recording is other and "a new conversation begins" in shown
    assert assistant.asked[-1] == [("user", "Again?")]


def test_paths_as_a_terminal_writes_them(talk: Any, tmp_path: Path, recording: Recording) -> None:
    """Dropped on the prompt after a command, for every command that takes one; and without a command."""
    folder = tmp_path / "my ecg (1)"
    folder.mkdir()
    Image.new("RGB", (64, 48)).save(folder / "it's.png")
    opened: list[Path] = []

    def open_recording(path: Path) -> Recording:
        opened.append(path)
        return recording

    escaped = str(folder).replace(" ", "\\ ").replace("(", "\\(").replace(")", "\\)")
    shown, chat = talk(
        *(
            f"/open {escaped}/it\\'s.png",
            f"/image {escaped}/it\\'s.png",
            f"/page {escaped}/p\\ 1.png",
            f"/save {escaped}/t\\ 1.json",
        ),
        f"{escaped}/it\\'s.png",
        f"'{folder}/it'\\''s.png'",
        open_recording=open_recording,
    )
    assert opened == [folder / "it's.png"] and chat.image_file == str(folder / "it's.png")
    assert (folder / "p 1.png").is_file() and (folder / "t 1.json").is_file()
    assert shown.count("to read that file, type /open") == 2 and not chat.exchanges


@pytest.mark.parametrize("seconds", [None, 0.9])
def test_a_file_that_cannot_be_opened_changes_nothing(seconds: float | None, talk: Any, recording: Recording) -> None:
    def open_recording(path: Path) -> Recording:
        if seconds is None:
            raise InputError(f"no such file: {path}")
        return recording.window(0, seconds)

    assistant = Assistant()
    shown, chat = talk("Rate?", "/open missing.hea", "Again?", assistant=assistant, open_recording=open_recording)
    assert chat.case.recording is recording
    assert len(assistant.asked[-1]) == 3
    assert ("no such file: missing.hea" in shown) == (seconds is None)


def test_image_and_back(talk: Any, tmp_path: Path, recording: Recording) -> None:
    Image.new("RGB", (320, 240)).save(tmp_path / "p.png")
    shown, chat = talk("Rate?", f"/image {tmp_path}/p.png")
    assert chat.case.image.size == (320, 240) and chat.case.recording is recording and not chat.exchanges
    assert "320 x 240 pixels" in shown
    shown, chat = talk(f"/image {tmp_path}/p.png", "/image", f"/image {tmp_path}/none.png")
    assert chat.case.image is None and "no such image" in shown


def test_clear_forgets_what_was_said_and_keeps_the_ecg(talk: Any, recording: Recording) -> None:
    assistant = Assistant()
    _, chat = talk("Rate?", "/clear", "Again?", assistant=assistant)
    assert assistant.asked[-1] == [("user", "Again?")] and chat.case.recording is recording


@pytest.mark.parametrize("word", ["/exit", "/quit"])
def test_exit(word: str, talk: Any) -> None:
    assistant = Assistant()
    talk(word, "Rate?", assistant=assistant)
    assert not assistant.asked


def test_page_is_written_and_nothing_written_over(talk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown, _ = talk("/page", "/page", "/page own.png", "/page own.png", "/page own.txt", "/page none/own.png")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ecg_page-2.png", "ecg_page.png", "own.png"]
    assert (
        "own.png exists already" in shown
        and "own.txt does not end in .png" in shown
        and "can't write none/own.png" in shown
    )
    assert Image.open("own.png").size == (2200, 1700)


def test_save_writes_the_conversation_once(talk: Any, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    shown, _ = talk("Rate?", f"/save {path}", "More?", f"/save {path}")
    assert "1 answer written" in shown and "exists already; choose another name" in shown
    saved = json.loads(path.read_text())
    assert (
        saved["model"] == "stand-in" and saved["recording"]["rate_hz"] == 500 and saved["decoding"]["temperature"] == 0
    )
    (exchange,) = saved["exchanges"]
    assert exchange["question"] == "Rate?" and exchange["answer"] == "The heart rate is 72 bpm"
    assert exchange["audit"]["counts"]["supported"] == 1 and exchange["finished"] == "stop"


# -- stopping


def interrupt() -> None:
    """What a terminal does on Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_stops_the_answer_and_keeps_its_beginning(talk: Any) -> None:
    before = signal.getsignal(signal.SIGINT)
    assistant = Assistant("The rate ", interrupt, "is 72 bpm")
    shown, chat = talk("Rate?", "Go on", "/exit", assistant=assistant)
    assert "[the answer was stopped]" in shown and "is 72 bpm" not in shown
    assert assistant.asked[1][1] == ("assistant", "The rate [stopped]")
    assert chat.exchanges[0].answer.text == "The rate ", "the mark is for the model and the screen, not for the answer"
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_breaks_off_a_model_that_does_not_look(talk: Any) -> None:
    def twice() -> None:
        interrupt()
        interrupt()

    shown, chat = talk("Rate?", "/audit", assistant=Assistant("The rate is 72 bpm ", twice, "and regular"))
    assert [exchange.answer.text for exchange in chat.exchanges] == ["The rate is 72 bpm "]
    assert chat.exchanges[0].answer.finished == "cancelled"
    assert "1 supported" in shown


def test_stopped_before_the_first_word(talk: Any) -> None:
    assistant = Assistant(interrupt, "x")
    shown, chat = talk("Rate?", assistant=assistant)
    assert not chat.exchanges and "stopped before the first word" in shown


def test_an_empty_answer_leaves_no_turn(talk: Any) -> None:
    shown, chat = talk("Rate?", assistant=Assistant(""))
    assert not chat.exchanges and "the model gave an empty answer" in shown


def test_ctrl_c_at_the_prompt_only_clears_the_line(talk: Any) -> None:
    assistant = Assistant()
    talk(CTRL_C, "Rate?", assistant=assistant)
    assert len(assistant.asked) == 1


def test_a_full_context_is_said_and_the_conversation_stays(talk: Any) -> None:
    class Full(Assistant):
        def ask(self, turns: Any, *rest: Any, **more: Any) -> Answer:
            if len(turns) > 1:
                raise InputError("the conversation has 9000 tokens and the model reads 8192")
            return super().ask(turns, *rest, **more)

    shown, chat = talk("Rate?", "More?", "x" * 20_000, assistant=Full())
    assert "the model reads 8192; /clear forgets what was said before" in shown and "20,000 characters" in shown
    assert [exchange.question for exchange in chat.exchanges] == ["Rate?"]


# -- the terminal


def stream(*pieces: str, width: int | None) -> str:
    out: list[str] = []
    text = terminal.Stream(out.append, width)
    for piece in pieces:
        text.feed(piece)
    text.close()
    return "".join(out)


def test_stream_keeps_words_whole_and_lines_as_they_were() -> None:
    assert stream("one two thr", "ee four", width=9) == "one two\nthree\nfour\n"
    assert stream("a\n\n", "  b", width=9) == "a\n\n  b\n"
    assert stream("a" * 30, width=9) == "a" * 30 + "\n"
    assert stream("one two", " three\n", width=None) == "one two three\n"
    assert stream(width=9) == ""


def test_stream_shows_what_would_steer_a_terminal() -> None:
    for width in (None, 80):
        assert (
            stream("a\x1b[2Jb\x07\x9bc\u202e\r", "\nd\r", "e\r", width=width)
            == "a\\x1b[2Jb\\x07\\x9bc\\u202e\nd\\x0de\\x0d\n"
        )
    assert files.printable("µ ≥ é\t") == "µ ≥ é\t"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Type keys into the line editor: the line that comes out."""
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    monkeypatch.setenv("LLAVA_ECG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TERM", "xterm")
    for name in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{name}.isatty", lambda: True)
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        read = terminal.line_reader({"/audit": "", "/open": ""}, {"/open"})

        def typed(text: str) -> str:
            keys.send_text(text)
            return read("you> ")

        yield typed


def test_tab_completes_commands_and_files(tmp_path: Path) -> None:
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document

    def offered(text: str) -> list[str]:
        return [
            text[: len(text) + c.start_position] + c.text for c in tab.get_completions(Document(text), CompleteEvent())
        ]

    tab = terminal.completer({"/audit": "", "/open": ""}, {"/open"})
    (tmp_path / "heart.hea").write_text("")
    assert offered("/") == ["/audit", "/open"]
    assert offered("/au") == ["/audit"]
    assert offered(f"/open {tmp_path}/hea") == [f"/open {tmp_path}/heart.hea"]
    assert offered(f"/audit {tmp_path}/hea") == offered("What") == []


def test_keys_of_the_line_editor(typed: Any) -> None:
    assert typed("Rate!\x7f?\r") == "Rate?"
    with pytest.raises(KeyboardInterrupt):
        typed("half a line\x03")
    with pytest.raises(EOFError):
        typed("\x04")


def test_history_is_kept_for_its_owner(typed: Any, tmp_path: Path) -> None:
    typed("Rate?\r")
    assert typed("\x1b[A\r") == "Rate?"
    history = tmp_path / "cache" / "history"
    assert "Rate?" in history.read_text() and history.stat().st_mode & 0o077 == 0


def test_piped_lines_are_shown_after_the_prompt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], recording: Recording
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Rate?\n/audti"))
    assistant: Any = Assistant()
    assert module.run(assistant, Case(recording), decoding=Decoding(), open_recording=files.read_recording) == 0
    shown = capsys.readouterr().out
    assert "you> Rate?\n" in shown and "you> /audti\nunknown command" in shown
