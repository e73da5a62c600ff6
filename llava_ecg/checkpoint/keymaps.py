"""Weight names of the released layouts <-> ours, as tables that are read both ways. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable

from llava_ecg.checkpoint.files.headers import Header, Tensors

Table = tuple[tuple[str, str], ...]

# (theirs, ours): prefixes, the first that fits wins in either direction
GEM: Table = (
    ("model.ecg_tower.ecg_tower.", "towers.ecg."),
    ("model.vision_tower.vision_tower.vision_model.", "towers.image.vision_tower."),
    ("model.ecg_projector.", "projectors.ecg."),
    ("model.mm_projector.", "projectors.image."),
    ("model.image_newline", "image_newline"),
    ("model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)
LANGUAGE_MODEL: Table = (("model.", "language_model.model."), ("lm_head.", "language_model.lm_head."))
OURS: Table = tuple((name, name) for name in ("towers.", "projectors.", "image_newline", "language_model."))
# towers alone, as the parameters of the tower itself; the rest of a CoCa or a CLIP (text tower, decoder, projections)
# has no use here
ECG_COCA: Table = (("module.ecg.", ""), ("ecg.", ""))
CLIP: Table = (
    ("vision_tower.", "vision_tower."),
    ("vision_model.", "vision_tower."),
    *((name, f"vision_tower.{name}") for name in ("embeddings.", "encoder.", "pre_layrnorm.", "post_layernorm.")),
)
BARE: Table = (("", ""),)

COMPUTED = (".rotary_emb.inv_freq", "embeddings.position_ids")
"""Ends of names that older transformers filed and newer ones compute: no weights."""


def to_ours(names: Iterable[str], table: Iterable[tuple[str, str]] = GEM) -> dict[str, str]:
    """Their name -> ours. A name that the table does not know is left out."""
    return _rename(names, list(table))


def from_ours(names: Iterable[str], table: Iterable[tuple[str, str]] = GEM) -> dict[str, str]:
    """Our name -> theirs. A name that the table does not know is left out."""
    return _rename(names, [(ours, theirs) for theirs, ours in table])


def unwrapped(name: str) -> str:
    """The name without what PEFT, DDP or DeepSpeed put in front of it: ``base_model.model.model.x`` -> ``model.x``."""
    for wrapper in ("module.", "base_model.model.", "base_model."):
        name = name.removeprefix(wrapper)
    return name.removeprefix("model.") if name.startswith("model.model.") else name


def _rename(names: Iterable[str], table: list[tuple[str, str]]) -> dict[str, str]:
    out = {}
    for name in names:
        for old, new in table:
            if name.startswith(old):
                out[name] = new + name[len(old) :]
                break
    return out


def renamed(headers: Iterable[Header], table: Table, unwrap: bool = False) -> tuple[Tensors, list[str]]:
    """Tensors of these files under our names, and the names that the table does not know."""
    tensors: Tensors = {}
    left_over: list[str] = []
    for header in headers:
        for name, ref in header.tensors.items():
            plain = unwrapped(name) if unwrap else name
            ours = to_ours([plain], table).get(plain)
            if ours is None:
                left_over.append(name)
            else:
                tensors[ours] = ref
    return tensors, left_over


def weights_alone(tensors: Tensors) -> Tensors:
    """Without the buffers that older transformers filed and newer ones compute."""
    return {name: ref for name, ref in tensors.items() if not name.endswith(COMPUTED)}
