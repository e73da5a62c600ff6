"""The whole load of the bench: 200 clients for a minute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


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
    most = max(course[: len(course) // 2 + 1])  # what clients happen to send at once comes and goes
    assert found["memory_mib"]["end"] < 1.3 * most, "what was taken in the first half is enough for the second"
