"""``llava-ecg ask`` and ``llava-ecg chat``: questions about an ECG, answered by a model and audited."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg.cli import flags, folder, inputs, results
from llava_ecg.cli.flags import Opener
from llava_ecg.errors import InputError
from llava_ecg.terminal import RESEARCH_USE, show, show_json

if TYPE_CHECKING:
    from PIL.Image import Image

    from llava_ecg.assistant import Answer, Assistant
    from llava_ecg.case import Case, Decoding
    from llava_ecg.ecg.recording import Recording

DEFAULT_QUESTION = "Interpret this ECG."
PAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


def add(commands: Any) -> None:
    """Declare ``ask`` and ``chat``."""
    ask = flags.command(
        commands,
        "ask",
        "ask one question about an ECG and audit the answer",
        'llava-ecg ask --ecg patient.hea --out results "What is the QT interval?"',
    )
    ask.add_argument(
        "question",
        nargs="?",
        default=DEFAULT_QUESTION,
        help="what to ask; - reads it from standard input (default: %(default)s)",
    )
    flags.add_case(ask, several=True)
    inputs.add(ask, several=True)
    flags.add_model(ask)
    flags.add_revise(ask)
    flags.add_stop(ask)
    ask.add_argument(
        "--out",
        type=Path,
        metavar="DIR|FILE.jsonl",
        help="folder for the page, the page with marks (PNG) and the answer (JSON); or a file that gets a line for "
        "each of many ECGs, where --ecg is a folder, a pattern in quotes or a list of files (.txt)",
    )
    folder.add(ask)
    ask.add_argument(
        "--page",
        type=Path,
        metavar="PAGE",
        help="draw the page with the waves that the answer cites marked (PNG or JPEG)",
    )
    ask.add_argument("--json", action="store_true", help="print one JSON object and nothing else to standard output")
    ask.set_defaults(run=run_ask)

    chat = flags.command(
        commands,
        "chat",
        "talk about an ECG in the terminal, over several turns",
        "llava-ecg chat --ecg patient.hea   (then /help)",
    )
    flags.add_case(chat)
    inputs.add(chat)
    flags.add_model(chat)
    flags.add_revise(chat)
    flags.add_stop(chat)
    chat.set_defaults(run=run_chat)


def run_ask(arguments: argparse.Namespace, open_assistant: Opener | None) -> int:
    """Answer one question; with ``--out``, keep the page and the answer."""
    from llava_ecg import files, report

    if not arguments.ecg and not arguments.image and not arguments.input:
        raise InputError("nothing to ask about; give --ecg FILE, --image FILE or both")
    given = inputs.places(arguments.input, several=True)
    decoding = decoding_of(arguments)
    if arguments.revise:
        _check_revise(arguments)
    if folder.wanted(arguments):
        if given:
            raise InputError("--input is for one question, and each of many ECGs is asked about; leave it away")
        question = files.check_question(_question(arguments.question))
        return folder.run(arguments, question, decoding, lambda given: open_model(given, open_assistant))
    others = [*zip_longest(arguments.ecg[1:], arguments.image[1:])]
    if others and arguments.page is not None:
        raise InputError("--page marks the waves of one ECG, and several are asked about; leave it away")
    arguments.ecg, arguments.image = next(iter(arguments.ecg), None), next(iter(arguments.image), None)
    question = files.check_question(_question(arguments.question))
    if arguments.out is not None:
        files.check_folder(arguments.out)
    if arguments.page is not None:
        if arguments.ecg is None:
            raise InputError("--page marks waves of a signal; give one with --ecg FILE")
        files.check_target(arguments.page, PAGE_SUFFIXES)
    result = sys.stdout
    with contextlib.redirect_stdout(
        sys.stderr if arguments.json else sys.stdout
    ):  # no library's chatter gets into the JSON
        recording, image = _inputs(arguments)
        if not arguments.json:
            _show_inputs(recording, image, arguments.image)
            show(*(f"{name:<8} {path}" for place in given for name, path in place.items()))
        case = _case(recording, image, [_others(arguments, ecg, image_file) for ecg, image_file in others])
        for each, (_, image_file) in zip(case.more, others, strict=True):
            if not arguments.json:
                _show_inputs(each.recording, each.image, image_file)
        if not arguments.json and not case.more:
            show(*([] if case.measurements is None else ["", *case.measurements.table().split("\n"), ""]))
        assistant = open_model(arguments, open_assistant)
        case = inputs.shown(case, given, assistant)
        most = 0 if case.more else flags.revise(arguments)
        answer = _answer(assistant, question, case, decoding, most, shown=not arguments.json)
        if not arguments.json:  # first shown, then written: a full disk must not take the answer with it
            notes = [*report.notes_of(answer), *filter(None, [report.beside(answer, case)])]
            show("", *report.audit_lines(answer.audit), *(f"note     {note}" for note in notes))
        found, failure = report.answer_dict(question, answer, case, None) | {"files": _files(arguments, case)}, None
        try:
            stem = "" if arguments.out is None else results.free_stem(arguments.out, _stem(arguments), found["files"])
            found["page"] = _write_page(arguments, case, stem)
            found["marked_page"] = _write_marked(arguments, case, answer, stem)
            written = _write_answer(arguments, found, stem)
            for name, path in (("page", found["page"]), ("marked", found["marked_page"]), ("JSON", written)):
                if path and not arguments.json:
                    show(f"{name:<8} {path}")
        except InputError as error:
            failure = error
        if not arguments.json:
            show(RESEARCH_USE)
    if arguments.json:
        show_json(found, result)
    if failure is not None:
        raise failure
    return 0


def run_chat(arguments: argparse.Namespace, open_assistant: Opener | None) -> int:
    """Talk until the person leaves."""
    decoding = decoding_of(arguments)
    case, given = _case(*_inputs(arguments)), inputs.places(arguments.input, several=False)
    from llava_ecg import chat

    assistant = open_model(arguments, open_assistant)
    return chat.run(
        assistant,
        inputs.shown(case, given, assistant),
        decoding=decoding,
        open_recording=lambda path: _recording(path, arguments),
        image_file=str(arguments.image or ""),
        input_files={name: str(path) for place in given for name, path in place.items()},
        revise=flags.revise(arguments),
    )


# -- their parts -------------------------------------------------------------------------------------------------------


def _question(text: str) -> str:
    """The text itself, or all of standard input for ``-``."""
    if text != "-":
        return text
    return sys.stdin.read() if sys.stdin is not None else ""


def _recording(path: Path, arguments: argparse.Namespace) -> Recording:
    from llava_ecg import files

    return files.complete_leads(files.read_recording(path, **flags.reading(arguments)), arguments.missing_leads)


def _inputs(arguments: argparse.Namespace) -> tuple[Recording | None, Image | None]:
    """The files, read before the model's code is even imported, so that a mistake costs no waiting."""
    from llava_ecg.ecg.images import read_image

    recording = None if arguments.ecg is None else _recording(arguments.ecg, arguments)
    return recording, None if arguments.image is None else read_image(arguments.image)


def _others(arguments: argparse.Namespace, ecg: Path | None, image: Path | None) -> Case:
    """A further ECG that the question is about."""
    from llava_ecg.case import Case
    from llava_ecg.ecg.images import read_image

    return Case(None if ecg is None else _recording(ecg, arguments), None if image is None else read_image(image))


def _case(recording: Recording | None, image: Image | None, more: Sequence[Case] = ()) -> Case:
    """What is asked about, measured before a model is loaded: a recording that is too short is refused here."""
    from llava_ecg.case import Case

    case = Case(recording, image, tuple(more))
    _ = case.measurements
    return case


def decoding_of(arguments: argparse.Namespace, *, drawn: bool = False) -> Decoding:
    """How answers are chosen, by the flags of `flags.add_model` and, where the command has it, ``--stop``; `drawn`: a
    request may raise the temperature."""
    from llava_ecg.case import Decoding

    if arguments.top_k and arguments.temperature == 0 and not drawn:
        raise InputError("--top-k draws from the likeliest words, and nothing is drawn at --temperature 0; raise it")
    return Decoding(
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        max_new_tokens=arguments.max_new_tokens,
        seed=arguments.seed,
        top_k=arguments.top_k,
        repetition_penalty=arguments.repetition_penalty,
        stop=vars(arguments).get("stop", ()),
    )


def open_model(arguments: argparse.Namespace, open_assistant: Opener | None) -> Assistant:
    """The model of the flags of `flags.add_model`."""
    show(f"loading {arguments.model} ...", file=sys.stderr)
    # Before torch is loaded, which reads it. Threads that sleep as soon as they wait cost a small model a third of its
    # speed; those that wait awake for long take each other's time on busy cores: a tenth of the speed. So: a moment.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "4000")
    if open_assistant is None:
        from transformers.utils import logging

        from llava_ecg.assistant import Assistant

        logging.disable_progress_bar()  # a person waits for the answer, not for the library's bars and remarks
        logging.set_verbosity_error()
        open_assistant = Assistant.open
    return open_assistant(arguments.model, **flags.opening(arguments))


def _show_inputs(recording: Recording | None, image: Image | None, image_file: Path | None) -> None:
    from llava_ecg import report
    from llava_ecg.case import Case

    show(*report.case_lines(Case(recording, image), image_file or ""))


def _check_revise(arguments: argparse.Namespace) -> None:
    """Refuse an explicit --revise where no answer is held against one signal."""
    why = "several ECGs are asked about" if len(arguments.ecg) > 1 or len(arguments.image) > 1 else ""
    if folder.wanted(arguments):
        why = "each of many ECGs is asked about once"
    elif not arguments.ecg:
        why = "there is only an image"
    if why:
        raise InputError(f"--revise asks again where the signal contradicts an answer, and {why}; leave it away")


def _answer(assistant: Assistant, question: str, case: Case, decoding: Decoding, most: int, shown: bool) -> Answer:
    from llava_ecg.data.conversation import Turn
    from llava_ecg.files import printable
    from llava_ecg.report import asked_again
    from llava_ecg.revising import ask_revised
    from llava_ecg.terminal import Stream, width, write

    turns = (Turn("user", question),)
    if not shown:
        return ask_revised(assistant, turns, case, decoding, most=most)
    write(printable(f"question {question}\n\n"))
    stream = Stream(write, width())

    def again(draft: Answer) -> None:
        stream.feed(f"\n\n[{asked_again(draft)}]\n\n")

    try:
        return ask_revised(assistant, turns, case, decoding, most=most, on_text=stream.feed, on_again=again)
    finally:
        stream.close()


def _stem(arguments: argparse.Namespace) -> str:
    first = arguments.ecg or arguments.image or next(path for _, path in arguments.input)
    return first.stem or "ecg"


def _files(arguments: argparse.Namespace, case: Case) -> dict[str, Any]:
    """What was asked about, by whole paths: the recording's file and the image's, None where there was none; ``more``,
    if several were."""
    recording = None if case.recording is None else str(Path(case.recording.source).resolve())
    found: dict[str, Any] = {
        "ecg": recording,
        "image": None if arguments.image is None else str(arguments.image.resolve()),
    }
    if arguments.input:
        found["input"] = [[name, str(path.resolve())] for name, path in arguments.input]
    if case.more:
        found["more"] = [str(Path(each.recording.source).resolve()) for each in case.more if each.recording is not None]
    return found


def _write_answer(arguments: argparse.Namespace, found: dict[str, Any], stem: str) -> Path | None:
    """Write the JSON under ``--out`` and return its path; None without ``--out``."""
    from llava_ecg.files import write_json

    if arguments.out is None:
        return None
    target: Path = results.answer_file(arguments.out, stem)
    write_json(target, found)
    return target


def _write_marked(arguments: argparse.Namespace, case: Case, answer: Answer, stem: str) -> str | None:
    """Write the page with the marks to ``--page``, or under ``--out``; None without either, or without a signal."""
    from llava_ecg.files import write_image

    target = arguments.page or (None if arguments.out is None else arguments.out / f"{stem}_audit.png")
    if target is None or case.more or case.recording is None or case.measurements is None or answer.audit is None:
        return None
    from llava_ecg.grounding.picture import picture

    write_image(target, picture(case.recording, case.within(answer.shown) or case.measurements, answer.audit).image)
    return str(target)


def _write_page(arguments: argparse.Namespace, case: Case, stem: str) -> str | None:
    """Write the page under ``--out`` and return its path; None without ``--out``."""
    from llava_ecg.files import write_image

    if arguments.out is None or case.page is None:
        return None
    target = arguments.out / f"{stem}_page.png"
    if arguments.image is None or not (target.exists() and target.samefile(arguments.image)):
        write_image(target, case.page)
    return str(target)
