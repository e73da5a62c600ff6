"""Values, which have no name of their own, in a socket."""

from __future__ import annotations

import pytest


def test_a_value_can_be_plugged_in_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """A template is a value, without a name of its own."""
    from llava_ecg.cli import main
    from llava_ecg.data.templates import plain
    from llava_ecg.plugins import templates

    templates.add("house", plain)
    try:
        assert main(["list", "templates"]) == 0
        assert "house" in capsys.readouterr().out
        assert templates.get("house") is plain
    finally:
        templates.remove("house")
