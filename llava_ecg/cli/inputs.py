"""``--input NAME=PATH``: a file for a stream of the model that has no flag of its own, such as that of a package from
outside. How it is read, the model's tower knows."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg.errors import InputError

if TYPE_CHECKING:
    from llava_ecg.assistant import Assistant
    from llava_ecg.case import Case

OWN = ("--ecg", "--image")


def add(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """--input; `several`: of one stream again, for each ECG that the question is about."""
    again = "; again for each ECG that one question is about" if several else ""
    parser.add_argument(
        "--input",
        type=_named,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help=f"a file for the model's stream NAME, where that has no flag of its own (see docs/extending.md){again}",
    )


def _named(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not name.strip() or not path.strip():
        raise argparse.ArgumentTypeError(f"an input is given as NAME=PATH, such as rhythm=strip.txt, not {text!r}")
    if f"--{name}" in OWN:
        raise argparse.ArgumentTypeError(f"the stream {name!r} has a flag of its own: --{name} {path}")
    return name, Path(path)


def places(given: Sequence[tuple[str, Path]], *, several: bool) -> list[dict[str, Path]]:
    """What stands at each place of a question: stream name -> file. The second of a name is of the second ECG.

    Raises:
        InputError: a file that is not there, or a name twice where there is one place.
    """
    found: list[dict[str, Path]] = []
    for name, path in given:
        if not path.exists():
            raise InputError(f"no such file: {path} (of --input {name})")
        at = next((number for number, place in enumerate(found) if name not in place), len(found))
        if at == len(found):
            found.append({})
        if at and not several:
            raise InputError(f"--input names the stream {name!r} twice; a conversation is about one of each")
        found[at][name] = path
    return found


def shown(case: Case, given: Sequence[dict[str, Path]], assistant: Assistant) -> Case:
    """The case with these files too, read by the model's preparers; the n-th of a stream goes to the n-th ECG.

    Raises:
        InputError: the model has no such stream, or a file can't be read.
    """
    from llava_ecg.case import Case

    if not given:
        return case
    sources = [{name: _read(name, path, assistant) for name, path in place.items()} for place in given]
    sources += [{} for _ in range(len(case.more) + 1 - len(sources))]
    first, others = sources[0], sources[1:]
    more = [*case.more, *(Case() for _ in range(len(others) - len(case.more)))]
    return case.with_inputs(first, [each.with_inputs(own) for each, own in zip(more, others, strict=True)])


def _read(name: str, path: Path, assistant: Assistant) -> Any:
    preparers = assistant.processor.preparers
    if name not in preparers:
        raise InputError(
            f"--input {name}={path}: the model {assistant.name} has no stream {name!r}; its streams are "
            f"{', '.join(preparers) or 'none'}"
        )
    return preparers[name].read(path)
