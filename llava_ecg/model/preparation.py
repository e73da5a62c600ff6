"""How the input of each stream is prepared, in words: for a report on a model that is not built. Imports no torch.

The preparers themselves (`llava_ecg.model.towers.ecg_coca.EcgPreparation`, `llava_ecg.model.towers.image.ImagePreparation`) need torch;
tests/model/test_report.py holds the defaults that are said here equal to theirs.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llava_ecg.model.shapes import TOWERS, Shapes

RATE = 500.0


@dataclass(frozen=True)
class Stream:
    """How one input is prepared.

    Attributes:
        settings: as in `llava_ecg.model.config.StreamConfig`.
        width, tokens: D and P of the tower's output for one value; None for a plug-in's tower.
        words: the preparation, then the tower and the projector.
        warnings: what a user has to know.
    """

    settings: dict[str, Any]
    width: int | None
    tokens: int | None
    words: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Words:
    """Of a tower that is known here.

    Attributes:
        made: how a value is made from its source.
        tokens: P.
        more: what else there is to say about the tokens.
        warnings: as in `Stream`.
    """

    made: str
    tokens: int
    more: str = ""
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
    kept = {key: settings[key] for key in ("tower", "tower_config", "projector", "through", "preparation") if key in settings}
    then = f", then the {shown(through)} projector" if through is not None else ""
    projector = f"; projector {shown(settings['projector'])}{then}" if "projector" in settings else ""
    if kind not in _KNOWN:
        return Stream(kept, None, None, (f"as the plug-in tower {shown(kind)} does with the settings {shown(preparation)}{projector}",))
    width, shapes = TOWERS[kind](config, f"the stream {name!r}")
    words = _KNOWN[kind](config, preparation, shapes)
    tokens = f"{words.tokens:,} tokens of width {width:,}{words.more}{projector}"
    return Stream(kept, width, words.tokens, (words.made, tokens), words.warnings)


def _signal(config: Mapping[str, Any], preparation: Mapping[str, Any], shapes: Shapes) -> _Words:
    """`EcgPreparation`."""
    _, leads, patch = shapes["conv1.weight"]
    tokens = shapes["positional_embedding"][0]
    samples = (tokens - 1) * patch
    order, rate = preparation.get("leads", "standard"), preparation.get("rate", RATE)
    orders = {"standard": "leads in standard order", "as_filed": "leads in the order of the file"}
    time = f"resampled to {shown(rate)} Hz"
    if rate is None:
        time = "at the rate of the file"
    elif type(rate) in (int, float) and 0 < rate < 1e9:
        time = f"resampled to {rate:g} Hz ({samples / rate:g} s)"
    made = f"{leads} {orders.get(str(order), f'leads {shown(order)}')}, in mV, {time}: the first {samples:,} samples, zeros after the end"
    return _Words(made, tokens)


def _page(config: Mapping[str, Any], preparation: Mapping[str, Any], shapes: Shapes) -> _Words:
    """`ImagePreparation` and `ClipTower`."""
    vision = config.get("vision_config") or {}
    patches = shapes["vision_tower.embeddings.position_embedding.weight"][0] - 1
    size = vision.get("image_size", math.isqrt(patches) * shapes["vision_tower.embeddings.patch_embedding.weight"][2])
    whole = config.get("select_feature", "patch") == "cls_patch"
    aspect = preparation.get("aspect", "squash")
    square = f"{size} x {size} pixels"
    ways = {
        "squash": f"the whole page squashed to {square}",
        "pad": f"the page padded to a square with the mean colour and brought to {square}",
        "ori": f"the page's shorter edge brought to {size} pixels and the middle, {square}, cropped (ori)",
        "anyres": f"the whole page squashed to {square}, and the page in tiles of that size (anyres)",
    }
    made, views = ways.get(aspect if isinstance(aspect, str) else "", f"the page made {shown(aspect)}, {square}"), ""
    grids = _pairs(preparation.get("pinpoints"))
    if aspect == "anyres":
        made += f"; grids of tiles: {', '.join(f'{wide} x {high}' for wide, high in grids) or 'none'}"
        tiles = max((wide // size * (high // size) for wide, high in grids), default=0)
        views = f" for each of up to {1 + tiles} views, merged {shown(preparation.get('merge', 'flat'))}"
    for key, what in (("mean", "mean"), ("std", "standard deviation")):
        made += f"; {what} {shown(preparation[key])}" if key in preparation else ""
    layer = f" (hidden state {shown(config.get('select_layer', -2))}, {'with' if whole else 'without'} the class token)"
    crop = ("a landscape page loses its sides to that crop: what is drawn there, the model never sees",)
    unknown = (
        f"a page can't be prepared with the aspect {shown(aspect)}, so nothing can be asked before another is chosen, such as "
        f"--prepare image.aspect={'anyres' if grids else 'pad'}",
    )
    warnings = crop if aspect == "ori" else () if isinstance(aspect, str) and aspect in ways else unknown
    return _Words(made, patches + whole, layer + views, warnings)


_KNOWN = {"ecg_coca": _signal, "clip": _page}


def _pairs(value: Any) -> list[tuple[int, int]]:
    """[width, height] pairs, if they are that."""
    pairs = value if isinstance(value, list) else []
    whole = all(isinstance(pair, list) and len(pair) == 2 and all(type(edge) is int for edge in pair) for pair in pairs)
    return [(wide, high) for wide, high in pairs] if whole else []


def shown(value: Any) -> str:
    """A value of a config for a person: on one line, and not too much of it."""
    if isinstance(value, str) and value.isprintable() and len(value) <= 100:
        return value
    return f"{value:,}" if type(value) is int else reprlib.repr(value)


def plain(value: Any, depth: int = 0) -> Any:
    """A config's values as JSON has them: no NaN, and not nested without end."""
    if depth > 20:
        return reprlib.repr(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, depth + 1) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
