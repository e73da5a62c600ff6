"""The package's parts through the same contracts as the built-in ones (`tests/contract`)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.contract import contracts
from tests.thirdparty.conftest import HERE

GROUPS: dict[str, dict[str, str]] = tomllib.loads(
    (HERE / "llava-ecg-example/pyproject.toml").read_text(encoding="utf-8")
)["project"]["entry-points"]
PARTS = [(group.removeprefix("llava_ecg."), name) for group, names in GROUPS.items() for name in names]


def test_it_brings_one_of_each_kind() -> None:
    """All sockets but the guide's, which tests/instruct/test_guide.py plugs one into."""
    assert {kind for kind, _ in PARTS} == {"readers", "towers", "projectors", "templates", "datasets", "tasks"}


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_contract(
    kind: str, name: str, plugged: Path, tmp_path: Path, monkeypatch: Any, request: pytest.FixtureRequest
) -> None:
    if name == "open_clip_page":
        request.getfixturevalue("open_clip")
    monkeypatch.setenv("LLAVA_ECG_CACHE", str(tmp_path / "cache"))
    contract: Any = getattr(contracts, kind.removesuffix("s"))
    contract(name, *((tmp_path,) if kind in ("readers", "towers", "tasks") else ()))
