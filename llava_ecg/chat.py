"""A conversation about an ECG in the terminal: ``llava-ecg chat``.

`Chat` is the conversation and knows no terminal: lines come from `read_line`, text goes to `write`. `run` gives it the
real ones.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg import __version__, files, pasted, report, terminal
from llava_ecg.assistant import Answer, audit_of
from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.images import read_image
from llava_ecg.errors import InputError
from llava_ecg.revising import ask_revised

if TYPE_CHECKING:
    from llava_ecg.assistant import Assistant
    from llava_ecg.ecg.recording import Recording

PROMPT = "you> "
STOPPED = " [stopped]"


@dataclass(frozen=True)
class Exchange:
    """A question and its answer."""

    question: str
    answer: Answer

    def turns(self) -> tuple[Turn, Turn]:
        """The two turns as the model sees them later; an answer that was stopped says so."""
        mark = STOPPED if self.answer.finished == "cancelled" else ""
        return Turn("user", self.question), Turn("assistant", self.answer.text.rstrip() + mark)


class Chat:
    """One conversation about one case.

    Args:
        assistant: who answers.
        case: what is asked about; may be empty at first.
        read_line: takes the prompt, returns a line; raises EOFError at the end and KeyboardInterrupt on Ctrl-C.
        write: takes text, line ends included, and shows it at once.
        decoding: how answers are decoded.
        open_recording: path -> Recording with all leads that the model wants (/open).
        image_file: where the case's image came from.
        input_files: stream name -> where the case's other inputs came from.
        revise: how many drafts after the first, while the signal contradicts one; see `llava_ecg.revising`.
        width: columns at which answers are broken, or None for not at all.
    """

    def __init__(
        self,
        assistant: Assistant,
        case: Case,
        read_line: Callable[[str], str],
        write: Callable[[str], object],
        *,
        decoding: Decoding | None = None,
        open_recording: Callable[[Path], Recording] = files.read_recording,
        image_file: str = "",
        input_files: Mapping[str, str] | None = None,
        revise: int = 0,
        width: int | None = None,
    ) -> None:
        self.assistant = assistant
        self.case = case
        self.exchanges: list[Exchange] = []
        self.image_file = image_file
        self.input_files = dict(input_files or {})
        self._read_line = read_line
        self._write = write
        self._decoding = decoding or Decoding()
        self._open_recording = open_recording
        self._revise = revise
        self._width = width
        self._stop = threading.Event()
        self._over = False
        self._noted: set[str] = set()

    # -- the loop

    def run(self) -> int:
        """Talk until the end of the input or /exit; returns the exit code 0."""
        self.banner()
        while True:
            try:
                line = self._read_line(PROMPT)
            except KeyboardInterrupt:
                self.say("")
                continue
            except EOFError:
                self.say("")
                return 0
            if not self.handle(line):
                return 0

    def handle(self, line: str) -> bool:
        """Do what one line says: a command, a question, or nothing. False when the conversation is over."""
        line = line.strip()
        try:
            if line.startswith("/") or pasted.is_dropped(line):
                self._command(line)
            elif line:
                self.ask(line)
        except InputError as error:
            self.say(" ".join(str(error).split()))
        except KeyboardInterrupt:
            self.say("", "[stopped]")
        except OSError as error:  # such as a file name that is too long
            if error.strerror is None:
                raise
            self.say(error.strerror)
        return not self._over

    def stop(self) -> None:
        """Stop the answer that streams now; what Ctrl-C does."""
        self._stop.set()

    def say(self, *lines: str) -> None:
        """Show lines; what would steer the terminal, or a line end that a file's value brings along, is shown as
        text."""
        self._write("\n".join(map(files.printable_line, lines)) + "\n")

    def banner(self) -> None:
        """Who answers, what is open, where help is."""
        self.say(
            f"{self.assistant.name} - {terminal.RESEARCH_USE}",
            "Type a question, or /help. Ctrl-C stops an answer, Ctrl-D leaves.",
            "",
        )
        self._show_case()

    # -- questions

    def ask(self, question: str) -> None:
        """Put a question, show the answer as it comes and one line on its audit. An answer that fails leaves the
        conversation as it was."""
        question = files.check_question(question)
        if self.case.recording is None and self.case.image is None and not self.case.inputs:
            raise InputError("nothing is open yet; /open FILE reads a signal, /image FILE a picture of the page")
        turns = [turn for exchange in self.exchanges for turn in exchange.turns()] + [Turn("user", question)]
        pieces: list[str] = []
        stream = terminal.Stream(self._write, self._width)

        def show(piece: str) -> None:
            pieces.append(piece)
            stream.feed(piece)

        def again(draft: Answer) -> None:
            pieces.clear()
            stream.feed(f"\n\n[{report.asked_again(draft)}]\n\n")

        self._write("\n")
        try:
            with terminal.stoppable(self._stop):
                answer = ask_revised(
                    self.assistant,
                    turns,
                    self.case,
                    self._decoding,
                    most=self._revise,
                    on_text=show,
                    on_again=again,
                    cancelled=self._stop.is_set,
                )
        except KeyboardInterrupt:  # the second Ctrl-C: the model did not look at the flag in time
            answer = self._broken_off(question, "".join(pieces))
        except InputError as error:
            hint = "; /clear forgets what was said before" if self.exchanges else ""
            raise InputError(f"{error}{hint}") from error
        finally:
            stream.close()
        self._keep(Exchange(question, answer))

    def _keep(self, exchange: Exchange) -> None:
        answer = exchange.answer
        if not answer.text.strip():
            why = (
                "stopped before the first word" if answer.finished == "cancelled" else "the model gave an empty answer"
            )
            self.say(f"[{why}; the question is forgotten]", "")
            return
        self.exchanges.append(exchange)
        ending = report.ending(answer)
        lines = [f"[{ending}]"] if ending else []
        notes = [*answer.notes, *filter(None, [report.beside(answer, self.case)])]
        lines += [f"[{note}]" for note in notes if note not in self._noted]
        self._noted.update(notes)
        lines += [f"[{remark}]" for remark in ([] if answer.audit is None else answer.audit.remarks)]
        more = "; /audit shows them" if answer.audit is not None and any(answer.audit.counts.values()) else ""
        self.say(*lines, f"[{report.audit_summary(answer.audit)}{more}]", "")

    def _broken_off(self, question: str, text: str) -> Answer:
        shown = self.exchanges[-1].answer.shown if self.exchanges else None
        checked = audit_of(question, text, self.case, shown, whole=False)
        return Answer(
            text=text,
            model=self.assistant.name,
            tokens={},
            seconds={},
            finished="cancelled",
            notes=(),
            audit=checked,
            shown=shown,
        )

    # -- commands

    def _command(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        command = COMMANDS.get("/exit" if word in ("/quit", "/q") else word)
        if command is None:
            if pasted.is_dropped(line):
                raise InputError(
                    f"to read that file, type /open {line} (a signal) or /image {line} (a picture of the page)"
                )
            near = difflib.get_close_matches(word.lower(), COMMANDS, n=3, cutoff=0.4)
            raise InputError(
                f"unknown command {word}; " + (f"did you mean {' or '.join(near)}?" if near else "/help lists them")
            )
        argument = pasted.file_name(rest)
        if argument and not command.takes:
            raise InputError(f"{word} takes nothing after it, not {argument!r}")
        if not argument and command.takes and not command.takes.startswith("["):
            raise InputError(f"{word} needs a file: {word} {command.takes}")
        command.run(self, argument)

    def help(self, _: str = "") -> None:
        """Show the commands."""
        left = {name: f"{name} {command.takes}".rstrip() for name, command in COMMANDS.items()}
        width = max(map(len, left.values()))
        self.say(*(f"  {left[name]:{width}}  {command.does}" for name, command in COMMANDS.items()))
        self.say("  anything else is a question; Ctrl-C stops the answer")

    def open(self, path: str) -> None:
        """Take another recording and begin a new conversation; the former ones stay if the file can't be read."""
        case = Case(recording=self._open_recording(pasted.expanded(path)), image=None)
        _ = case.measurements  # raises for a recording that is too short
        self._begin(case, "")

    def image(self, path: str = "") -> None:
        """Take an image as the page, beside the recording; without one, the page drawn from the recording again."""
        if not path and self.case.recording is None:
            raise InputError("there is no signal to draw the page from; give the image's file: /image FILE")
        image = read_image(pasted.expanded(path)) if path else None
        self._begin(Case(recording=self.case.recording, image=image, inputs=self.case.inputs), path)

    def measure(self, _: str = "") -> None:
        """Show what was read and what was measured on it."""
        if self.case.measurements is None:
            raise InputError("there is no signal to measure; /open FILE reads one")
        self._show_case()
        self.say(*self.case.measurements.table().split("\n"))

    def audit(self, path: str = "") -> None:
        """Show the claims of the last answer, held against the signal; with a name, draw the page with the waves they
        cite marked."""
        if not self.exchanges:
            raise InputError("there is no answer yet")
        answer, recording = self.exchanges[-1].answer, self.case.recording
        checked, measurements = answer.audit, self.case.within(answer.shown)
        self.say(*report.audit_lines(checked))
        if not path:
            return
        if checked is None or recording is None or measurements is None:
            raise InputError("there is no signal whose waves could be marked; /open FILE reads one")
        from llava_ecg.grounding.picture import picture

        target = files.new_target(pasted.expanded(path), (".png", ".jpg", ".jpeg"))
        image = picture(recording, measurements, checked).image
        files.write_image(target, image)
        self.say(f"marked page written to {target} ({image.width} x {image.height} pixels)")

    def page(self, path: str = "") -> None:
        """Write the page that the model sees; without a name, under a free one in the working folder. No file is
        written over."""
        page = self.case.page
        if page is None:
            raise InputError("there is no page; /open FILE reads a signal, /image FILE a picture of the page")
        source = self.image_file if self.case.recording is None else self.case.recording.source
        target = pasted.expanded(path) if path else files.free_name(Path(f"{Path(source or 'ecg').stem}_page.png"))
        files.write_image(files.new_target(target, (".png", ".jpg", ".jpeg")), page)
        self.say(f"page written to {target} ({page.width} x {page.height} pixels)")

    def save(self, path: str) -> None:
        """Write the conversation as JSON. No file is written over."""
        target = files.new_target(pasted.expanded(path))
        files.write_json(target, self.transcript())
        self.say(f"{len(self.exchanges)} {'answer' if len(self.exchanges) == 1 else 'answers'} written to {target}")

    def clear(self, _: str = "") -> None:
        """Forget what was said, keep the case."""
        self.exchanges.clear()
        self._noted.clear()
        self.say("what was said is forgotten; the ECG is still open")

    def exit(self, _: str = "") -> None:
        """End the conversation."""
        self._over = True

    def transcript(self) -> dict[str, Any]:
        """The conversation as plain dicts; docs/chat.md describes the keys."""
        recording, measurements = self.case.recording, self.case.measurements
        return report.plain(
            {
                "llava_ecg": __version__,
                "notice": terminal.RESEARCH_USE,
                "model": self.assistant.name,
                "decoding": asdict(self._decoding),
                "recording": None if recording is None else report.recording_dict(recording),
                "image": self.image_file or None,
                **({"input": self.input_files} if self.case.inputs else {}),
                "measurements": None if measurements is None else measurements.to_dict(per_beat=False),
                "exchanges": [report.exchange_dict(exchange.question, exchange.answer) for exchange in self.exchanges],
            }
        )

    # -- their parts

    def _begin(self, case: Case, image_file: str) -> None:
        """Take another case, and forget what was said about the former one."""
        spoken, self.case, self.image_file = bool(self.exchanges), case, image_file
        self.exchanges.clear()
        self._noted.clear()
        self._show_case()
        if spoken:
            self.say("a new conversation begins", "")

    def _show_case(self) -> None:
        lines = report.case_lines(self.case, self.image_file, self.input_files)
        self.say(*(lines or ["nothing is open yet: /open FILE, /image FILE"]), "")


@dataclass(frozen=True)
class Command:
    """A command of the chat: what does it, what it takes, what it is for, and whether Tab completes file names after
    it."""

    run: Callable[[Chat, str], None]
    takes: str
    does: str
    path: bool = False


COMMANDS = {
    "/help": Command(Chat.help, "", "this list"),
    "/open": Command(Chat.open, "FILE", "another signal; begins a new conversation", path=True),
    "/image": Command(
        Chat.image, "[FILE]", "an image of the page beside the signal; without FILE the page is drawn again", path=True
    ),
    "/measure": Command(Chat.measure, "", "what was read, and what was measured on it"),
    "/audit": Command(
        Chat.audit,
        "[FILE]",
        "the claims of the last answer, held against the signal; with FILE, marked on the page",
        path=True,
    ),
    "/page": Command(Chat.page, "[FILE]", "write the page that the model sees, as PNG or JPEG", path=True),
    "/save": Command(Chat.save, "FILE", "write the conversation as JSON", path=True),
    "/clear": Command(Chat.clear, "", "forget what was said, keep the ECG"),
    "/exit": Command(Chat.exit, "", "leave (also Ctrl-D)"),
}


def run(
    assistant: Assistant,
    case: Case,
    *,
    decoding: Decoding,
    open_recording: Callable[[Path], Recording],
    image_file: str = "",
    input_files: Mapping[str, str] | None = None,
    revise: int = 0,
) -> int:
    """Chat on standard input and output until the end; returns the exit code. See `llava_ecg.terminal.line_reader`."""
    return Chat(
        assistant,
        case,
        terminal.line_reader(
            {name: command.does for name, command in COMMANDS.items()},
            {n for n, command in COMMANDS.items() if command.path},
        ),
        terminal.write,
        decoding=decoding,
        open_recording=open_recording,
        image_file=image_file,
        input_files=input_files,
        revise=revise,
        width=terminal.width(),
    ).run()
