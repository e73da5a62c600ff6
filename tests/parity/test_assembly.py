"""The joint sequence made in data/ and filled in model/ is the original's, in all of its ten cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from llava_ecg.data.batch import pad
from llava_ecg.data.encode import Encoded, truncate
from llava_ecg.model.llava import LlavaEcgForCausalLM

from .closeness import close
from .conftest import prepared_ecg, prepared_images, samples, tiny_model

Tensors = dict[str, torch.Tensor]
FLAT = ["right", "left", "trunc128", "nolabels", "nomask_single", "withpos", "single_2d_ecg"]
GRIDS = [(2, 2), (0, 0), (2, 1)]  # of 5, 1 and 3 tiles: the base view, then the grid
TILED = {"anyres_flat": "flat", "anyres_spatial": "spatial", "anyres_spatial_unpad": "spatial_unpad"}


def encoded(
    case: str, model: LlavaEcgForCausalLM, tensors: Tensors, inputs: Tensors, meta: Any = None
) -> list[Encoded]:
    """The samples of one case."""
    ecgs = inputs["ecgs"][:1] if case in ("nomask_single", "single_2d_ecg") else inputs["ecgs"]
    given = {"ecg": prepared_ecg(ecgs, model)}
    side = model.towers["image"].side
    if case in TILED:
        tiles = [tensors[f"anyres.images{n}"] for n in range(3)]
        sizes = meta["anyres_unpad.image_sizes" if "unpad" in case else "anyres.image_sizes"]
        given["image"] = prepared_images(tiles, GRIDS, sizes, TILED[case], side)
    else:
        images = list(inputs["images"][: len(ecgs), None])
        given["image"] = prepared_images(images, [(0, 0)] * len(images), [(56, 56)] * len(images), "flat", side)
    rows = samples(
        model,
        tensors[f"{case}.input_ids"],
        tensors.get(f"{case}.in_labels"),
        tensors.get(f"{case}.in_attention_mask"),
        given,
    )
    return [truncate(row, 128, streams="cut") for row in rows] if case == "trunc128" else rows


def check(case: str, model: LlavaEcgForCausalLM, rows: list[Encoded], tensors: Tensors) -> dict[str, Any]:
    """Mask, labels, embeddings, and loss and logits where the original has them."""
    batch = pad(rows, model.config.text_config.pad_token_id, side="left" if case == "left" else "right")
    mask = batch["attention_mask"]
    if f"{case}.attention_mask" in tensors:
        assert torch.equal(mask, tensors[f"{case}.attention_mask"].bool())
    else:
        assert mask.all()
    if f"{case}.labels" in tensors:
        assert torch.equal(batch["labels"], tensors[f"{case}.labels"])
    with torch.no_grad():
        embeddings = model.embed(batch["input_ids"], batch["slots"], batch["streams"])
        close(embeddings[mask], tensors[f"{case}.inputs_embeds"][mask])
        if f"{case}.loss" in tensors:
            positions = (
                {} if case == "withpos" else {"position_ids": None}
            )  # the original was given none in the other cases
            out = model(**batch | positions)
            close(out.loss, tensors[f"{case}.loss"])
            lean = model(**batch | positions, supervised_only=True)
            close(lean.loss, tensors[f"{case}.loss"])
            assert lean.logits is None
        if f"{case}.logits" in tensors:
            close(out.logits[mask], tensors[f"{case}.logits"][mask])
    return batch


@pytest.mark.parametrize("case", FLAT)
def test_one_page_each(case: str, model: LlavaEcgForCausalLM, tensors: Tensors, inputs: Tensors) -> None:
    batch = check(case, model, encoded(case, model, tensors, inputs), tensors)
    if case == "withpos":
        mask = batch["attention_mask"]
        assert torch.equal(batch["position_ids"][mask], tensors["withpos.position_ids"][mask])


@pytest.mark.parametrize("case", TILED)
def test_tiles(case: str, golden: Path, tensors: Tensors, inputs: Tensors, meta: Any, tmp_path: Path) -> None:
    model = tiny_model(golden, tmp_path / "gem", TILED[case])
    check(case, model, encoded(case, model, tensors, inputs, meta), tensors)


def test_all_cases_are_here(tensors: Tensors) -> None:
    cases = {name.split(".")[0] for name in tensors} - {"anyres", "generate"}
    assert cases == {*FLAT, *TILED}


def prompt(model: LlavaEcgForCausalLM, tensors: Tensors, inputs: Tensors) -> dict[str, Any]:
    given = {
        "ecg": prepared_ecg(inputs["ecgs"][:1], model),
        "image": prepared_images([inputs["images"][:1]], [(0, 0)], [(56, 56)], "flat", model.towers["image"].side),
    }
    return pad(samples(model, tensors["generate.prompt_ids"], None, None, given), 0, side="left")


@pytest.mark.parametrize(("case", "beams"), [("greedy", 1), ("beam2", 2)])
def test_generated_tokens(case: str, beams: int, model: LlavaEcgForCausalLM, tensors: Tensors, inputs: Tensors) -> None:
    theirs = tensors[f"generate.{case}"][:, 1:]  # transformers 4 put a BOS in front
    ours = model.generate(
        **prompt(model, tensors, inputs), num_beams=beams, do_sample=False, max_new_tokens=theirs.shape[1]
    )
    assert torch.equal(ours, theirs)


def test_left_padding_does_not_change_the_answers(
    model: LlavaEcgForCausalLM, tensors: Tensors, inputs: Tensors
) -> None:
    rows = encoded("nolabels", model, tensors, inputs)
    together = model.generate(**pad(rows, 0, side="left"), do_sample=False, max_new_tokens=8, eos_token_id=None)
    for row, sample in enumerate(rows):
        alone = model.generate(**pad([sample], 0, side="left"), do_sample=False, max_new_tokens=8, eos_token_id=None)
        assert torch.equal(together[row], alone[0])


def test_wrong_number_of_features_is_an_error(model: LlavaEcgForCausalLM, tensors: Tensors, inputs: Tensors) -> None:
    batch = pad(encoded("right", model, tensors, inputs), 0)
    batch["streams"]["ecg"]["index"] = batch["streams"]["ecg"]["index"][:-1]
    with pytest.raises(ValueError, match="202 places .* 201 features"):
        model.embed(batch["input_ids"], batch["slots"], batch["streams"])
