"""`Output`: the files of a run, which only grow, so that a run that was broken off goes on where it was.

While a run lasts, its lines stand in ``OUT.jsonl.part`` and the like, and ``OUT.run.jsonl`` says after each chunk how
far these files reach and what was counted. A chunk counts once its line is on the disk there; what the files hold
beyond is cut off when the same command is given again. When all is done they get their names, and what a former run
left goes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

from llava_ecg.data.journal import Journal
from llava_ecg.errors import InputError
from llava_ecg.instruct.chunks import Part
from llava_ecg.instruct.summary import Options, Summary

_FILES = ("train", "val", "setaside", "failures")
_END = "end"


class Output:
    """The files of a run, as a context.

    Args:
        options: where they stand.
        settings: what the lines hang on; another run's do not mix with these.

    Attributes:
        summary: of all chunks that are there.
        chunks: how many are there.

    Raises:
        InputError: a file can't be written, or holds what another run began.
    """

    def __init__(self, options: Options, settings: Mapping[str, Any]) -> None:
        self.places = {"train": options.out} | {what: options.beside(what) for what in _FILES[1:]}
        self.run = options.beside("run")
        self.summary, self.chunks = Summary(), 0
        self._open: dict[str, BinaryIO] = {}
        self._stack = contextlib.ExitStack()
        try:
            self._journal = self._begin(settings)
            sizes: Mapping[str, int] = {}
            for line in self._journal.lines[1:]:
                if line["chunk"] == _END:
                    break
                sizes, self.chunks = line["sizes"], line["chunk"] + 1
                self.summary.add(line["summary"])
            self.ended = self._journal.lines[-1:] != [] and self._journal.lines[-1]["chunk"] == _END
            if not self.ended:
                for what in _FILES:
                    self._open[what] = self._part(what, sizes.get(what, 0))
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.chunks and not self.ended:  # there is nothing to go on with
            for what in self.places:
                self.part(what).unlink(missing_ok=True)
            self.run.unlink(missing_ok=True)
        self._stack.close()

    def add(self, part: Part) -> None:
        """The lines of the next chunk; they are on the disk when this returns.

        Raises:
            InputError: they can't be written.
        """
        if part.number != self.chunks:
            raise AssertionError(f"chunk {part.number} came where {self.chunks} was due")
        try:
            for what, text in part.lines.items():
                self._open[what].write(text.encode("utf-8", "backslashreplace"))
                self._open[what].flush()
                os.fsync(self._open[what].fileno())
            sizes = {what: file.tell() for what, file in self._open.items()}
        except OSError as error:
            raise InputError(
                f"can't write beside {self.places['train']} ({error.strerror}); what is done is kept, and the same "
                "command goes on there"
            ) from error
        self._journal.add({"chunk": part.number, "sizes": sizes, "summary": part.summary})
        self.summary.add(part.summary)
        self.chunks += 1

    def finish(self) -> None:
        """Give the files their names; one without a line is taken away, and what a former run left there too."""
        if not self.ended:
            self._journal.add({"chunk": _END})
        for file in self._open.values():
            file.close()
        try:
            for what, place in self.places.items():
                part = self.part(what)
                if not part.is_file():
                    continue  # named already, by a run that was then broken off
                if part.stat().st_size:
                    part.replace(place)
                else:
                    place.unlink(missing_ok=True)
                    part.unlink()
            self.run.unlink()
        except OSError as error:
            raise InputError(f"can't write {error.filename}: {error.strerror}") from error

    def part(self, what: str) -> Path:
        """Where the lines of a file stand while the run lasts."""
        place = self.places[what]
        return place.with_name(f"{place.name}.part")

    def _begin(self, settings: Mapping[str, Any]) -> Journal:
        """The journal, with its first line; one of other settings is refused if anything is done in it."""
        journal = self._stack.enter_context(Journal(self.run, "chunk"))
        if journal.lines and not (journal.lines[0].keys() == {"chunk", "settings"}):
            raise InputError(f"{self.run} is no file of llava-ecg instruct; choose another --out")
        if journal.lines and journal.lines[0]["settings"] != settings:
            held = journal.lines[0]["settings"]
            if len(journal.lines) > 1:
                other = sorted(name for name in {*held, *settings} if held.get(name) != settings.get(name))
                raise InputError(
                    f"{self.run} is of a run with other settings ({', '.join(other)}) that was broken off; give the "
                    "same to go on with it, or delete that file to begin anew"
                )
            self.run.unlink()
            self._stack.close()
            journal = self._stack.enter_context(Journal(self.run, "chunk"))
        if not journal.lines:
            journal.add({"chunk": -1, "settings": dict(settings)})
        return journal

    def _part(self, what: str, size: int) -> BinaryIO:
        path = self.part(what)
        try:
            file = self._stack.enter_context(path.open("ab"))
            if path.stat().st_size < size:
                raise InputError(f"{path} is shorter than {self.run} says; delete that file to begin anew")
            file.truncate(size)
            file.seek(0, os.SEEK_END)
        except OSError as error:
            raise InputError(f"can't write {path}: {error.strerror}") from error
        return file
