"""How the input of each stream is prepared, in words: for a report on a model that is not built. Imports no torch.

The preparers themselves (`llava_ecg.model.towers.ecg_coca.EcgPreparation`,
`llava_ecg.model.towers.image.ImagePreparation`) need torch; tests/checkpoint/test_inspect.py holds the defaults that
are said here equal to theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llava_ecg.checkpoint.towers.facts import shown
from llava_ecg.checkpoint.towers.known import TOWERS


@dataclass(frozen=True)
class Stream:
    """How one input is prepared.

    Attributes:
        settings: as in `llava_ecg.streams.StreamConfig`.
        width, tokens: D and P of the tower's output for one value; None for a plug-in's tower.
        words: the preparation, then the tower and the projector.
        warnings: what a user has to know.
    """

    settings: dict[str, Any]
    width: int | None
    tokens: int | None
    words: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def stream_report(name: str, settings: Mapping[str, Any]) -> Stream:
    """A stream of a config, in words.

    Args:
        settings: as in `StreamConfig`; of a tower alone, without projector and through.

    Raises:
        InputError: a tower_config that no tower can be built from.
    """
    kind, config = settings["tower"], settings.get("tower_config") or {}
    preparation, through = settings.get("preparation") or {}, settings.get("through")
    kept = {
        key: settings[key]
        for key in ("tower", "tower_config", "projector", "through", "preparation")
        if key in settings
    }
    then = f", then the {shown(through)} projector" if through is not None else ""
    projector = f"; projector {shown(settings['projector'])}{then}" if "projector" in settings else ""
    if kind not in TOWERS:
        return Stream(
            kept,
            None,
            None,
            (f"as the plug-in tower {shown(kind)} does with the settings {shown(preparation)}{projector}",),
        )
    width, shapes = TOWERS[kind].shapes(config, f"the stream {name!r}")
    words = TOWERS[kind].words(config, preparation, shapes)
    tokens = f"{words.tokens:,} tokens of width {width:,}{words.more}{projector}"
    return Stream(kept, width, words.tokens, (words.made, tokens), words.warnings)
