"""Measurement against hand marks, on the half of LUDB that no threshold was set on. Minutes: ``make test-slow``."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "measure_ludb.py"


@pytest.mark.slow
def test_even_records(shared: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("measure_ludb", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.main(["--data", str(shared / "data" / "ludb"), "--part", "even", "--json", str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())["summary"]
    assert found["records"] == 80
    assert found["r_sensitivity"] > 0.99
    assert found["r_ppv"] > 0.99
    assert found["rate_bpm"]["median_abs"] < 0.5
    for name, share in (("pr_ms", 0.88), ("qrs_ms", 0.88), ("qt_ms", 0.88)):
        assert found[name]["within_tolerance"] > share, name
