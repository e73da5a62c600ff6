"""Holds a reading of a part to the whole, once cut: for the tests of formats."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from llava_ecg.ecg.formats import long_tables, read
from llava_ecg.errors import InputError

SPANS = ((0.0, 1.1), (1.3, 2.0), (4.0, None))


def check_parts(path: Path, **given: Any) -> None:
    """Parts of a table as text, read in small batches, are those of the whole, or fail with the same sentence."""
    asked = long_tables.part
    results = []

    def noted(*args: Any) -> Any:
        results.append(asked(*args))
        return results[-1]

    small: dict[str, Any] = {"_SHORT_BYTES": 0, "_FEW_LINES": 40, "_HEAD_LINES": 100, "_BATCH": 97}
    with patch.multiple(long_tables, part=noted, **small):
        check_windows(path, **given)
    if path.read_bytes().count(b"\n") > 1000:
        assert None not in results, "read whole"


def check_windows(path: Path, **given: Any) -> None:
    """Parts of a recording are those of the whole, or fail with the same sentence."""
    for start, seconds in SPANS:
        found, whole = _read(path, start=start, seconds=seconds, **given), _read(path, **given)
        if isinstance(found, str) or isinstance(whole, str):
            late = isinstance(whole, str) or whole.duration <= start
            assert late and (found == whole or "so nothing is there" in str(found)), (found, whole)
            continue
        first = round(start * whole.rate)
        last = None if seconds is None else first + round(seconds * whole.rate)
        np.testing.assert_array_equal(found.signal, whole.signal[:, first:last])
        assert (found.leads, found.rate, found.format) == (whole.leads, whole.rate, whole.format)
        assert (found.metadata, found.notes[:-1]) == (whole.metadata, whole.notes)
        assert found.notes[-1].startswith("read from ")


def memory_of(path: Path | str, **given: Any) -> int:
    """How many bytes the most memory of a process of its own grows by when it reads."""
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from llava_ecg.ecg import read\n"
        "def used():\n"  # not by getrusage, which begins with the most of the process that started this one
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM'))\n"
        "before = used()\n"
        "read(sys.argv[1], **json.loads(sys.argv[2]))\n"
        "print(used() - before)"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc to know what is held")
    told = subprocess.check_output([sys.executable, "-c", code, str(path), json.dumps(given)])
    return 1024 * int(told)  # it counts in kilobytes


def _read(path: Path, **given: Any) -> Any:
    try:
        return read(path, **given)
    except InputError as error:
        return str(error)
