"""How the words of a command line are taken: a mistake is one sentence after the usage, which names the flag that was
probably meant."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from llava_ecg.terminal import show

_ONE_OF = {"--ecg": "one recording", "--image": "one image", "--model": "one model", "--text": "one text"}


class Once(argparse.Action):
    """The flag's value, which is given once: of two values the second would win in silence."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Keep the value.

        Raises:
            argparse.ArgumentError: the flag has a value already.
        """
        given = vars(namespace).setdefault("_given", set())
        if self.option_strings and self.dest in given:
            former = vars(namespace)[self.dest]
            one = _ONE_OF.get(self.option_strings[0], "one value")
            raise argparse.ArgumentError(
                self, f"it is given twice ({former} and {values}) and takes {one} at a time; give it once"
            )
        given.add(self.dest)
        setattr(namespace, self.dest, values)


def _path(text: str) -> Path:
    """A path; the empty one, as of a variable that was never set, would pass for the folder one is in."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name of a file is empty; give one, or . for the folder you are in")
    return Path(text)


class Parser(argparse.ArgumentParser):
    """A parser whose flags with a value are `Once`, and whose errors can't steer the terminal."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self._words: list[str] = []
        for name in (None, "store"):
            self.register("action", name, Once)
        self.register("type", Path, _path)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse does; but a command refuses words left over itself, since it is the one that knows its flags."""
        self._words = list(sys.argv[1:] if args is None else args)
        found, left = super().parse_known_args(args, namespace)
        if left and self._subparsers is None:
            self.error(f"unrecognized arguments: {' '.join(left)}")
        return found, left

    def error(self, message: str) -> NoReturn:
        """Print the usage and the sentence, and leave with exit code 2."""
        self.print_usage(sys.stderr)
        show(f"{self.prog}: error: {message}{self._nearest(message)}", file=sys.stderr)
        raise SystemExit(2)

    def _nearest(self, message: str) -> str:
        """The flags that words which are none were probably meant for, such as ``--json`` for ``--jsno``."""
        known = {flag.lstrip("-"): flag for flag in self._option_string_actions if flag.startswith("--")}
        near: dict[str, str] = {}
        for word in self._words[: self._words.index("--") if "--" in self._words else None]:
            flag = word.partition("=")[0]
            if (
                len(flag) < 3
                or flag[0] != "-"
                or flag in self._option_string_actions
                or flag[:2] in self._option_string_actions
            ):
                continue
            for name in difflib.get_close_matches(flag.lstrip("-").lower().replace("_", "-"), known, n=1):
                near[flag] = known[name] if flag in message.replace("=", " ").split() else f"{known[name]} by {flag}"
        return f"; did you mean {' and '.join(near.values())}?" if near else ""
