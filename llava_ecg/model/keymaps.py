"""Weight names of the released layouts <-> ours, as tables that are read both ways."""

from __future__ import annotations

from collections.abc import Iterable

# (theirs, ours): prefixes, the first that fits wins in either direction
GEM = (
    ("model.ecg_tower.ecg_tower.", "towers.ecg."),
    ("model.vision_tower.vision_tower.vision_model.", "towers.image.vision_tower."),
    ("model.ecg_projector.", "projectors.ecg."),
    ("model.mm_projector.", "projectors.image."),
    ("model.image_newline", "image_newline"),
    ("model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)


def to_ours(names: Iterable[str], table: Iterable[tuple[str, str]] = GEM) -> dict[str, str]:
    """Their name -> ours. A name that the table does not know is left out."""
    return _rename(names, list(table))


def from_ours(names: Iterable[str], table: Iterable[tuple[str, str]] = GEM) -> dict[str, str]:
    """Our name -> theirs. A name that the table does not know is left out."""
    return _rename(names, [(ours, theirs) for theirs, ours in table])


def _rename(names: Iterable[str], table: list[tuple[str, str]]) -> dict[str, str]:
    out = {}
    for name in names:
        for old, new in table:
            if name.startswith(old):
                out[name] = new + name[len(old) :]
                break
    return out
