"""Every released layout opens: each tensor is where it belongs, bit for bit, and the preparation is the checkpoint's
own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import llava_ecg
from llava_ecg.checkpoint.keymaps import GEM, from_ours
from llava_ecg.errors import InputError
from llava_ecg.model.loading import Checkpoint, TowerCheckpoint, open_checkpoint
from tests.model import released as write
from tests.model.released_files import State, Written

TIED = "lm_head.weight"


def theirs(model: torch.nn.Module) -> State:
    """The model's tensors under the released names."""
    state = model.state_dict()
    names = from_ours(state, GEM)
    assert len(names) == len(state)
    return {names[name]: value for name, value in state.items()}


def same(model: torch.nn.Module, state: State, *, but: tuple[str, ...] = ()) -> None:
    """Every tensor of the file is in the model with its bits, and the model has no other."""
    have = theirs(model)
    state = {name: value for name, value in state.items() if not name.endswith("inv_freq")}
    if model.config.text_config.tie_word_embeddings:
        state = state | {TIED: state["model.embed_tokens.weight"]}
    have = {name: value for name, value in have.items() if not name.startswith(but)} if but else have
    assert set(have) == set(state)
    for name, value in state.items():
        assert torch.equal(have[name], value), name


def clip(tmp_path: Path, golden: Path) -> Path:
    return write.clip_folder(tmp_path / "clip", golden).folder


WHOLE: dict[str, Callable[..., Written]] = {
    "gem": write.gem,
    "gem, mlp3x": lambda folder, golden, **more: write.gem(folder, golden, ecg_projector="mlp3x_gelu", **more),
    "gem-qwen": write.gem_qwen,
    "gem-qwen, tied": lambda folder, golden, **more: write.gem_qwen(folder, golden, tied=True, **more),
    "pulse": write.pulse,
    "llava-1.6-vicuna": write.llava_16,
    "llava-1.6-mistral": lambda folder, golden, **more: write.llava_16(folder, golden, family="mistral", **more),
}
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gem": ("llava_v1", {"aspect": "ori"}),
    "gem, mlp3x": ("llava_v1", {"aspect": "ori"}),
    "gem-qwen": ("qwen_2", {"aspect": "ori"}),
    "gem-qwen, tied": ("qwen_2", {"aspect": "ori"}),
    "pulse": ("llava_v1", {"aspect": "anyres", "merge": "flat"}),
    "llava-1.6-vicuna": ("vicuna_v1", {"aspect": "anyres", "merge": "spatial_unpad"}),
    "llava-1.6-mistral": ("mistral_instruct", {"aspect": "anyres", "merge": "spatial_unpad"}),
}


@pytest.mark.parametrize(("form", "shards"), [("safetensors", 1), ("safetensors", 3), ("bin", 1), ("bin", 3)])
@pytest.mark.parametrize("layout", WHOLE)
def test_whole_folders(layout: str, form: str, shards: int, golden: Path, tmp_path: Path) -> None:
    written = WHOLE[layout](tmp_path / "x", golden, form=form, shards=shards)
    checkpoint = open_checkpoint(tmp_path / "x")
    same(checkpoint.model, written.state)
    template, preparation = SETTINGS[layout]
    config = checkpoint.model.config
    assert config.template == template
    image = config.streams["image"]
    assert {key: image["preparation"].get(key) for key in preparation} == preparation
    assert image["tower_config"]["select_layer"] == -2
    assert config.streams["image"]["projector"] == "mlp2x_gelu"
    if "gem" in layout:
        assert list(config.streams) == ["ecg", "image"]
        assert config.streams["ecg"]["through"] == "image"
        assert config.streams["ecg"]["preparation"] == {"leads": "as_filed", "rate": None}
        assert config.streams["ecg"]["projector"] == ("mlp3x_gelu" if "mlp3x" in layout else "linear")
    assert checkpoint.layout == "llava"
    assert config.model_max_length == written.config["tokenizer_model_max_length"]


def test_the_folders_name_does_not_matter(golden: Path, tmp_path: Path) -> None:
    """LLaVA chose the class and the template from words such as lora, mistral, qwen in the path."""
    written = write.pulse(tmp_path / "gem-qwen-lora-mistral-v0", golden)
    checkpoint = open_checkpoint(written.folder)
    same(checkpoint.model, written.state)
    assert checkpoint.model.config.template == "llava_v1"


@pytest.mark.parametrize("kind", ["whole CLIP", "vision only", "given"])
def test_llava_15_takes_its_clip_from_outside(kind: str, golden: Path, tmp_path: Path) -> None:
    maker = write.clip_vision_folder if kind == "vision only" else write.clip_folder
    tower = maker(tmp_path / "clip", golden)
    written = write.llava_15(tmp_path / "x", golden, "openai/not-here" if kind == "given" else tower.folder)
    checkpoint = open_checkpoint(tmp_path / "x", vision_tower=tower.folder if kind == "given" else None)
    inside = {
        f"model.vision_tower.vision_tower.{name}": value
        for name, value in tower.state.items()
        if name.startswith("vision_model.")
    }
    same(
        checkpoint.model,
        written.state | {name: value for name, value in inside.items() if not name.endswith("position_ids")},
    )
    config = checkpoint.model.config
    assert (config.template, config.streams["image"]["preparation"]["aspect"]) == ("vicuna_v1", "pad")
    assert config.model_max_length == written.config["max_position_embeddings"]


def test_llava_15_without_its_clip_says_what_it_needs(golden: Path, tmp_path: Path) -> None:
    write.llava_15(tmp_path / "x", golden, "clip-that-is-nowhere")
    with pytest.raises(InputError, match="names 'clip-that-is-nowhere'.*--vision-tower"):
        open_checkpoint(tmp_path / "x")


def lora_sum(written: Written, base: State, scale: float) -> State:
    """The slow, obvious merge: W + scale * B A for each pair, then the rest that was trained."""
    merged = dict(base)
    for name, a in written.state.items():
        if ".lora_A." in name:
            weight = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
            b = written.state[name.replace(".lora_A.", ".lora_B.")]
            merged[weight] = (base[weight].float() + scale * (b.float() @ a.float())).to(base[weight].dtype)
        elif ".lora_" not in name:
            merged[name.removeprefix("base_model.model.")] = a
    return merged


TUNED = ("mm_projector", "ecg_projector", "vision_tower", "ecg_tower", "image_newline")


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("form", ["bin", "safetensors"])
@pytest.mark.parametrize("tuned", [TUNED[:2], TUNED[:4]])
def test_a_lora_over_a_gem(prefix: bool, form: str, tuned: tuple[str, ...], golden: Path, tmp_path: Path) -> None:
    base = write.gem(tmp_path / "base", golden)
    written = write.lora(
        tmp_path / "x", golden, base.folder, prefix=prefix, form=form, tuned=tuned, ecg_pairs=len(tuned) == 2
    )
    checkpoint = open_checkpoint(tmp_path / "x")
    expected = lora_sum(written, base.state, 8 / 4)
    have = theirs(checkpoint.model)
    assert set(have) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(have[name], value, atol=1e-6, rtol=0)
    changed = [name for name, value in base.state.items() if not torch.equal(have[name], value)]
    assert any("q_proj" in name for name in changed)
    assert any("ecg_projector" in name for name in changed)
    assert any("resblocks" in name for name in changed)
    assert checkpoint.layout == "lora"


def test_a_lora_over_a_language_model(golden: Path, tmp_path: Path) -> None:
    base = write.language_model(tmp_path / "base", golden)
    tower = write.clip_vision_folder(tmp_path / "clip", golden)
    coca = write.ecg_coca_pt(tmp_path / "coca.pt", golden)
    written = write.lora(tmp_path / "x", golden, base.folder, vision_tower=tower.folder, ecg_tower=tmp_path / "coca.pt")
    have = theirs(open_checkpoint(tmp_path / "x").model)
    outside = {f"model.vision_tower.vision_tower.{name}": value for name, value in tower.state.items()}
    outside |= {
        f"model.ecg_tower.ecg_tower.{name.removeprefix('module.ecg.')}": value
        for name, value in coca.state.items()
        if name.startswith("module.ecg.")
    }
    expected = lora_sum(written, base.state, 8 / 4) | outside
    assert set(have) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(have[name], value, atol=1e-6, rtol=0)


def test_our_lora_sum_is_pefts(golden: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base = write.gem(tmp_path / "base", golden)
    write.lora(tmp_path / "x", golden, base.folder)
    model = open_checkpoint(base.folder).model
    merged = peft.PeftModel.from_pretrained(model.language_model, tmp_path / "x").merge_and_unload().state_dict()
    ours = open_checkpoint(tmp_path / "x").model.language_model.state_dict()
    assert set(ours) == set(merged)
    for name, value in merged.items():
        torch.testing.assert_close(ours[name], value, atol=1e-6, rtol=0)


def test_a_lora_without_its_base(golden: Path, tmp_path: Path) -> None:
    base = write.gem(tmp_path / "base", golden)
    write.lora(tmp_path / "x", golden, base.folder)
    base.folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="holds a LoRA over .*base.*--base"):
        open_checkpoint(tmp_path / "x")
    path = tmp_path / "x" / "config.json"
    values = json.loads(path.read_text()) | {"mm_vision_tower": "clip_tiny"}
    path.write_text(json.dumps(values))
    open_checkpoint(tmp_path / "x", base=tmp_path / "moved")
    path = tmp_path / "x" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": None}))
    with pytest.raises(InputError, match="does not name; give it with --base"):
        open_checkpoint(tmp_path / "x")


@pytest.mark.parametrize("ecg", [True, False])
def test_projectors_over_a_language_model(ecg: bool, golden: Path, tmp_path: Path) -> None:
    base = write.language_model(tmp_path / "base", golden)
    tower = write.clip_folder(tmp_path / "clip", golden)
    write.ecg_coca_pt(tmp_path / "coca.pt", golden)
    more = {"ecg_tower": tmp_path / "coca.pt"} if ecg else {}
    written = write.projectors(tmp_path / "x", golden, base.folder, vision_tower=tower.folder, **more)
    with pytest.raises(InputError, match="does not name; give it with --base"):
        open_checkpoint(tmp_path / "x")
    checkpoint = open_checkpoint(tmp_path / "x", base=base.folder)
    have = theirs(checkpoint.model)
    assert len(written.state) == (6 if ecg else 4)
    for name, value in (written.state | base.state).items():
        assert torch.equal(have[name], value), name
    assert checkpoint.layout == "projectors"


@pytest.mark.parametrize("unsafe", [False, True])
def test_ecg_coca_alone(unsafe: bool, golden: Path, tmp_path: Path) -> None:
    written = write.ecg_coca_pt(tmp_path / "cpt.pt", golden, unsafe=unsafe)
    with pytest.raises(InputError, match="heads can't be read.*cpt.json"):
        llava_ecg.load(tmp_path / "cpt.pt")
    (tmp_path / "cpt.json").write_text((golden / "ecg_tower_config.json").read_text())
    if unsafe:
        with pytest.raises(InputError, match=r"argparse.Namespace.*runs code.*--trust-pickle"):
            llava_ecg.load(tmp_path / "cpt.pt")
    checkpoint = llava_ecg.load(tmp_path / "cpt.pt", device="cpu", trust_pickle=unsafe)
    assert isinstance(checkpoint, TowerCheckpoint)
    state = checkpoint.tower.state_dict()
    encoder = {
        name.removeprefix("module.ecg."): value
        for name, value in written.state.items()
        if name.startswith("module.ecg.")
    }
    assert set(state) == set(encoder)
    assert all(torch.equal(state[name], value) for name, value in encoder.items())
    with pytest.raises(InputError, match="goes to --ecg-tower"):
        open_checkpoint(tmp_path / "cpt.pt")


def test_the_golden_encoder_through_a_pt(golden: Path, tmp_path: Path) -> None:
    """What the original's tower gave for its weights, ours gives for the same weights out of a CoCa pickle."""
    state = load_file(golden / "tiny_gem_state.safetensors")
    prefix = "model.ecg_tower.ecg_tower."
    encoder = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    write.ecg_coca_pt(tmp_path / "cpt.pt", golden, state=encoder)
    (tmp_path / "cpt.json").write_text((golden / "ecg_tower_config.json").read_text())
    known = load_file(golden / "towers_projectors.safetensors")
    checkpoint = llava_ecg.load(tmp_path / "cpt.pt", device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(checkpoint.tower(known["ecgs"]), known["ecg_last_layer"], atol=1e-5, rtol=0)


def off(have: torch.Tensor, exact: torch.Tensor) -> float:
    """Norm of the difference over the norm."""
    return float((have.float() - exact).norm() / exact.norm())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits_are_near_the_golden_logits(dtype: str, golden: Path, tmp_path: Path) -> None:
    from llava_ecg.data.batch import pad
    from tests.parity.test_assembly import encoded

    written = write.gem_golden(tmp_path / "x", golden)
    tensors, inputs = (load_file(golden / name) for name in ("assembly.safetensors", "towers_projectors.safetensors"))
    model = open_checkpoint(written.folder, dtype=dtype).model
    assert {str(value.dtype) for value in model.parameters()} == {f"torch.{dtype}"}
    assert model.language_model.model.rotary_emb.inv_freq.dtype == torch.float32
    rounded = open_checkpoint(written.folder).model
    for name, value in model.named_parameters():
        exact = rounded.get_parameter(name)
        torch.testing.assert_close(value.float(), exact, rtol=1e-2, atol=1e-6)
        exact.data = value.data.float()
    batch = pad(encoded("right", model, tensors, inputs), 0)
    mask = batch["attention_mask"]
    with torch.no_grad():
        out = model(**batch | {"position_ids": None})
        embeddings = model.embed(batch["input_ids"], batch["slots"], batch["streams"])
        lost = off(rounded(**batch | {"position_ids": None}).logits[mask], tensors["right.logits"][mask])
    assert off(embeddings[mask], tensors["right.inputs_embeds"][mask]) < 1e-2
    assert off(out.loss, tensors["right.loss"]) < 1e-2
    # bfloat16 keeps eight bits: rounding these weights alone, with all sums in float32, moves the logits by 1.1 %, the
    # rest adds 0.8 %
    assert off(out.logits[mask], tensors["right.logits"][mask]) < max(1e-2, 2 * lost)
    assert dtype != "float16" or lost < 5e-3


def test_overrides_are_recorded(golden: Path, tmp_path: Path) -> None:
    write.gem(tmp_path / "x", golden)
    changed = {"image": {"aspect": "pad"}, "ecg": {"rate": 500.0, "leads": "standard"}}
    checkpoint = llava_ecg.load(tmp_path / "x", device="cpu", template="vicuna_v1", preparation=changed)
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.overrides == {"template": "vicuna_v1", **changed}
    assert checkpoint.model.config.streams["image"]["preparation"]["aspect"] == "pad"
    assert checkpoint.model.preparers()["ecg"].rate == 500.0
    assert llava_ecg.load(tmp_path / "x", device="cpu").overrides == {}
    with pytest.raises(InputError, match="no stream 'video'"):
        llava_ecg.load(tmp_path / "x", preparation={"video": {"aspect": "pad"}})
    with pytest.raises(InputError, match="unknown template 'v7'"):
        llava_ecg.load(tmp_path / "x", template="v7")


def test_a_tower_is_replaced_and_one_is_added(golden: Path, tmp_path: Path) -> None:
    coca = write.ecg_coca_pt(tmp_path / "cpt.pt", golden, seed=7)
    (tmp_path / "cpt.json").write_text((golden / "ecg_tower_config.json").read_text())
    gem = write.gem(tmp_path / "gem", golden)
    pulse = write.pulse(tmp_path / "pulse", golden)
    encoder = {
        name.removeprefix("module.ecg."): value for name, value in coca.state.items() if name.startswith("module.ecg.")
    }
    for folder in (gem.folder, pulse.folder):
        model = open_checkpoint(folder, ecg_tower=tmp_path / "cpt.pt").model
        assert list(model.config.streams) == ["ecg", "image"]
        assert all(torch.equal(model.towers["ecg"].state_dict()[name], value) for name, value in encoder.items())
        assert model.config.streams["ecg"]["through"] == "image"
    added = open_checkpoint(pulse.folder, ecg_tower=tmp_path / "cpt.pt", strict=False).overrides
    assert added == {"ecg_tower": str(tmp_path / "cpt.pt"), "strict": False, "untrained": "projectors.ecg"}
    assert tuple(model.projectors["ecg"].weight.shape) == (48, 64)
    assert model.projectors["ecg"].weight.std() > 0  # begun anew, not left as it lay in memory
    # the tower of another checkpoint does as well
    model = open_checkpoint(pulse.folder, ecg_tower=gem.folder).model
    assert torch.equal(model.towers["ecg"].conv1.weight, gem.state["model.ecg_tower.ecg_tower.conv1.weight"])


def test_a_tower_of_another_width(golden: Path, tmp_path: Path) -> None:
    from llava_ecg.model.saving import save_tower
    from llava_ecg.model.towers.ecg_coca import EcgCoCaTower

    settings = {"layers": 1, "width": 32, "head_width": 16, "embed_dim": 8}
    save_tower(EcgCoCaTower(**settings), "ecg_coca", settings, {}, tmp_path / "tower")
    write.gem(tmp_path / "gem", golden)
    with pytest.raises(InputError, match="is 32 wide, and its projector in .* takes 64"):
        open_checkpoint(tmp_path / "gem", ecg_tower=tmp_path / "tower")
