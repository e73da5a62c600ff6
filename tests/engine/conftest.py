"""What several tests of the engine need."""

from __future__ import annotations

import pytest

from llava_ecg.engine.run import Engine


@pytest.fixture(params=["known", "ahead"])
def steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the engines of a test go on where the test does not say: with steps that begin when their ids are known, or
    with steps that begin before the one before them was read, which is what CUDA does."""
    defaults = Engine.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "ahead", request.param == "ahead")
    return str(request.param)
