"""The whole load of the bench: 200 clients for a minute."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


MOST_GROWTH = 1.1


def growth(course: Sequence[float]) -> float:
    """How many times as much memory was taken in the last quarter as in the second: in the first one caches fill, and
    by their medians what clients happen to send at once for a moment counts for nothing."""
    quarter = len(course) // 4
    return statistics.median(course[-quarter:]) / statistics.median(course[quarter : 2 * quarter])


@pytest.mark.parametrize(
    ("leak", "within"),
    [(0.0, True), (1.0, True), (2.5, False), (4.0, False)],
)
def test_a_slow_leak_is_seen_and_a_moment_is_not(leak: float, within: bool) -> None:
    """MiB a second, on what fills up to 650 MiB within ten seconds and has two moments of much more."""
    course = [420 + min(230, 23 * second) + leak * second for second in range(2, 62, 2)]
    course[11] += 200
    course[-1] += 200
    assert (growth(course) < MOST_GROWTH) == within


@pytest.mark.slow
def test_two_hundred_clients_for_a_minute(tmp_path: Path) -> None:
    out = tmp_path / "serve.json"
    program = [sys.executable, "scripts/bench/serve.py", "--clients", "200", "--seconds", "60", "--json", str(out)]
    done = subprocess.run(program, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    assert (found["wrong"], found["failed"], found["exit_code"], found["health"]) == (0, {}, 0, "ok")
    assert found["right"] > 200 and found["hung_up"] > 0 and found["malformed_and_refused"] > 0
    course = found["memory_mib"]["course"]
    assert len(course) >= 4 and growth(course) < MOST_GROWTH, f"it takes more and more memory, MiB: {course}"
    most = max(course[: len(course) // 2 + 1])
    assert found["memory_mib"]["end"] < 1.3 * most, "what was taken in the first half is enough for the second"
