"""A reader: strips of text, microvolts in columns under a line such as ``#STRIP 125 II``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llava_ecg.ecg.formats.reader import Options, assemble
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

FIRST = "#STRIP "


class Strip:
    suffixes = (".strip",)

    def recognises(self, head: bytes, path: Path) -> bool:
        return head.startswith(FIRST.encode())

    def read(self, path: Path, options: Options) -> Recording:
        try:
            first, _, rows = path.read_text(encoding="ascii").partition("\n")
            _, rate, leads = first.split()
            values = np.array([row.split() for row in rows.splitlines()], dtype=np.float32).T  # [L, T]
            return assemble(path, values, options, rate=float(rate), units=["uV"] * len(values), leads=leads.split(","))
        except InputError:
            raise
        except (ValueError, IndexError) as error:
            raise InputError(f"{path} is no table of columns under a line '#STRIP rate leads': {error}") from error


def write_strip(path: Path, recording: Recording, leads: tuple[str, ...]) -> None:
    """Some leads of a recording as such a file."""
    rows = (recording.select(leads).signal.T * 1000).round().astype(int)  # mV to uV
    text = "\n".join(" ".join(map(str, row)) for row in rows)
    path.write_text(f"{FIRST}{recording.rate:g} {','.join(leads)}\n{text}\n", encoding="ascii")
