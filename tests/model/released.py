"""Small checkpoints in every released layout, with random weights (or the golden ones), as the original code writes
them.

Each function fills a folder and returns `Written`: the folder, the tensors under the names in the files, and the
config.json. Key names, shapes and configs come from `released_7b.py`; file names from LLaVA's train.py, GEM's train.py,
transformers' save_pretrained and PEFT. Sizes are those of the golden model. Nothing here imports llava_ecg: this is the
other side of the test.

In every function: `golden` is the folder shared/golden (tokenizer, configs of the small towers), `form` is
"safetensors" or "bin", `shards` how many files the weights are cut into (more than one: with an index).
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.model.released_7b import (
    FAMILY,
    LLAMA_7B,
    LLAVA_CLASSES,
    MISTRAL_7B,
    Shapes,
    clip_layers,
    clip_shapes,
    ecg_shapes,
    joined,
    language_model_shapes,
    llava_config,
    llava_shapes,
)
from tests.model.released_files import (
    State,
    Written,
    cast,
    random_state,
    read_json,
    write_json,
    write_tokenizer,
    write_weights,
)

TEXT: dict[str, dict[str, Any]] = {
    "llama": LLAMA_7B
    | {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3}
    | {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024},
    "mistral": MISTRAL_7B
    | {"vocab_size": 512, "hidden_size": 48, "intermediate_size": 112, "num_hidden_layers": 2}
    | {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024},
    "qwen2": {  # more rows than the tokenizer's 259 tokens, as in Qwen's own
        **{"vocab_size": 512, "hidden_size": 32, "intermediate_size": 96, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu", "max_position_embeddings": 1024},
        **{
            "initializer_range": 0.02,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0,
            "sliding_window": 131072,
            "attention_dropout": 0.0,
        },
        **{
            "use_sliding_window": False,
            "max_window_layers": 2,
            "tie_word_embeddings": False,
            "bos_token_id": 256,
            "eos_token_id": 258,
        },
    },
}
CLASSES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM"}
ADAPTED = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)  # LLaVA: every linear of the language model


# --- configs of the small parts
# --------------------------------------------------------------------------------------------------------
def small_clip(golden: Path) -> dict[str, Any]:
    """Config of the golden CLIP image tower."""
    return read_json(golden / "clip_tiny" / "config.json")


def small_coca(golden: Path) -> dict[str, Any]:
    """The golden ECG tower's open_clip config, the form in which GEM files it."""
    return read_json(golden / "ecg_tower_config.json")


def _small_config(
    kind: str, golden: Path, vision_tower: str | Path, text: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    text = text or TEXT[FAMILY.get(kind, "llama")]
    config = llava_config(kind, text, small_clip(golden), vision_tower=str(vision_tower), max_length=1024)
    return config | {"open_clip_config": "coca_tiny"} if "open_clip_config" in config else config


def _write_configs(folder: Path, golden: Path, config: dict[str, Any]) -> None:
    """config.json, and the small ECG tower's own beside it under its name: the released one is known, this one is
    nobody's."""
    write_json(folder / "config.json", config)
    if "open_clip_config" in config:
        write_json(folder / f"{config['open_clip_config']}.json", small_coca(golden))


def _checkpoint(
    folder: Path, golden: Path, state: State, config: dict[str, Any], form: str, shards: int, clip_beside: bool = True
) -> Written:
    """A whole LLaVA folder. `clip_beside`: the small CLIP's config goes in as ``clip_tiny/``, without its weights."""
    _write_configs(folder, golden, config)
    ids: dict[str, Any] = {
        key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in config
    }
    write_json(folder / "generation_config.json", {"_from_model_config": True, **ids, "transformers_version": "4.37.2"})
    write_weights(folder, state, form, shards)
    write_tokenizer(folder, golden, "qwen2" if config["model_type"] == "llava_qwen" else "llama")
    if clip_beside:
        (folder / "clip_tiny").mkdir()
        for name in ("config.json", "preprocessor_config.json"):
            shutil.copyfile(golden / "clip_tiny" / name, folder / "clip_tiny" / name)
    # what the Trainer leaves in every output folder: pickles that are no weights, and that weights_only refuses [inf
    # for the releases]
    torch.save(argparse.Namespace(learning_rate=2e-05, output_dir="./checkpoints"), folder / "training_args.bin")
    write_json(folder / "trainer_state.json", {"epoch": 1.0, "global_step": 100, "log_history": []})
    return Written(folder, state, config)


# --- whole checkpoints
# -----------------------------------------------------------------------------------------------------------------
def gem_golden(
    folder: Path, golden: Path, *, dtype: torch.dtype = torch.float32, form: str = "safetensors", shards: int = 1
) -> Written:
    """THE golden model as a released GEM folder: its state and config unchanged but for the blanked paths."""
    config = read_json(golden / "tiny_gem_config.json")
    config |= {"mm_vision_tower": "clip_tiny", "mm_ecg_tower": "/home/gem/checkpoint/cpt_wfep_epoch_20.pt"}
    return _checkpoint(
        folder, golden, cast(load_file(golden / "tiny_gem_state.safetensors"), dtype), config, form, shards
    )


def gem(
    folder: Path,
    golden: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    form: str = "safetensors",
    shards: int = 1,
    ecg_projector: str = "linear",
) -> Written:
    """GEM on Llama: both towers and both projectors inside."""
    config = _small_config("gem", golden, "clip_tiny") | {"ecg_projector_type": ecg_projector}
    shapes = joined(llava_shapes(config, small_clip(golden), small_coca(golden)))
    return _checkpoint(folder, golden, random_state(shapes, seed, dtype), config, form, shards)


def gem_qwen(
    folder: Path,
    golden: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    form: str = "safetensors",
    shards: int = 1,
    tied: bool = False,
) -> Written:
    """GEM's Qwen2 branch. A tied head is not in a safetensors file; in a .bin it is there again, the same storage."""
    config = _small_config("gem-qwen", golden, "clip_tiny") | {"tie_word_embeddings": tied}
    state = random_state(joined(llava_shapes(config, small_clip(golden), small_coca(golden))), seed, dtype)
    if tied and form == "bin":
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return _checkpoint(folder, golden, state, config, form, shards)


def pulse(
    folder: Path,
    golden: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    form: str = "safetensors",
    shards: int = 1,
) -> Written:
    """PULSE: no ECG stream, anyres merged flat, its tuned CLIP inside, and LLaVA-1.6's image_newline, which flat does
    not use [inf]."""
    config = _small_config("pulse", golden, "clip_tiny")
    shapes = joined(llava_shapes(config, small_clip(golden), None, newline=True))
    return _checkpoint(folder, golden, random_state(shapes, seed, dtype), config, form, shards)


def llava_15(
    folder: Path,
    golden: Path,
    vision_tower: str | Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    form: str = "bin",
    shards: int = 2,
    buffers: bool = True,
) -> Written:
    """LLaVA-1.5: pad, CLIP only named (`vision_tower`), and a ``mm_projector.bin`` beside the shards as in the real
    repository.

    That stray file holds other numbers here, so that taking it for the weights shows. `buffers`: older transformers
    also filed the rotary tables of every layer [inf].
    """
    config = _small_config("llava-1.5", golden, vision_tower)
    parts = llava_shapes(config, None, None)
    state = random_state(joined(parts), seed, dtype)
    if buffers:
        head = config["hidden_size"] // config["num_attention_heads"]
        table = 1.0 / 10000 ** (torch.arange(0, head, 2).float() / head)
        layers = range(config["num_hidden_layers"])
        state |= {f"model.layers.{number}.self_attn.rotary_emb.inv_freq": table.to(dtype).clone() for number in layers}
    written = _checkpoint(folder, golden, state, config, form, shards, clip_beside=False)
    torch.save(random_state(parts["mm_projector"], seed + 1, dtype), folder / "mm_projector.bin")
    return written


def llava_16(
    folder: Path,
    golden: Path,
    *,
    family: str = "vicuna",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    form: str = "safetensors",
    shards: int = 2,
) -> Written:
    """LLaVA-1.6 on "vicuna" or "mistral": anyres, spatial_unpad, so image_newline; its tuned CLIP inside."""
    config = _small_config(f"llava-1.6-{family}", golden, "clip_tiny")
    shapes = joined(llava_shapes(config, small_clip(golden), None, newline=True))
    return _checkpoint(folder, golden, random_state(shapes, seed, dtype), config, form, shards)


# --- what others are made over
# ---------------------------------------------------------------------------------------------------------
def language_model(
    folder: Path,
    golden: Path,
    *,
    family: str = "llama",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    form: str = "safetensors",
    shards: int = 1,
    state: State | None = None,
) -> Written:
    """A plain Llama, Mistral or Qwen2 folder; `state`: its weights, if they are not to be random."""
    config = {
        "architectures": [CLASSES[family]],
        "model_type": family,
        **TEXT[family],
        "transformers_version": "4.37.2",
    }
    if state is None:
        state = random_state(language_model_shapes(config, biases=family == "qwen2"), seed, dtype)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    write_weights(folder, state, form, shards)
    write_tokenizer(folder, golden, family)
    return Written(folder, state, config)


def clip_vision_folder(
    folder: Path,
    golden: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    form: str = "safetensors",
    state: State | None = None,
) -> Written:
    """A CLIP image tower as CLIPVisionModel saves it (model_type clip_vision_model, keys ``vision_model.*``)."""
    config = small_clip(golden)
    state = state or random_state(clip_shapes(config), seed, dtype)
    write_json(folder / "config.json", config)
    shutil.copyfile(golden / "clip_tiny" / "preprocessor_config.json", folder / "preprocessor_config.json")
    write_weights(folder, state, form, 1)
    return Written(folder, state, config)


def clip_folder(
    folder: Path,
    golden: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    form: str = "bin",
    state: State | None = None,
) -> Written:
    """A whole CLIP as in openai/clip-vit-large-patch14-336: both towers, their projections, the old position_ids
    buffers.

    Its preprocessor_config.json is of the first form, sizes as plain numbers. `state`: of the image tower
    (``vision_model.*``).
    """
    keep = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "image_size",
        "patch_size",
        "hidden_act",
    )
    vision = {key: small_clip(golden)[key] for key in keep} | {"model_type": "clip_vision_model", "projection_dim": 24}
    text = {
        "model_type": "clip_text_model",
        "vocab_size": 99,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
    }
    text |= {"num_attention_heads": 2, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "projection_dim": 24}
    config = {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": 24,
        "logit_scale_init_value": 2.6592,
    }
    config |= {"text_config": text, "vision_config": vision}
    rest: Shapes = {"logit_scale": (), "text_model.embeddings.token_embedding.weight": (99, 32)}
    rest |= {"text_model.embeddings.position_embedding.weight": (77, 32), **clip_layers("text_model.", 32, 64, 1)}
    rest |= {f"text_model.final_layer_norm.{name}": (32,) for name in ("weight", "bias")}
    rest |= {"visual_projection.weight": (24, vision["hidden_size"]), "text_projection.weight": (24, 32)}
    whole = random_state(rest, seed + 1, dtype) | (state or random_state(clip_shapes(vision), seed, dtype))
    places = whole["vision_model.embeddings.position_embedding.weight"].shape[0]
    whole |= {
        f"{side}.embeddings.position_ids": torch.arange(n)[None]
        for side, n in (("text_model", 77), ("vision_model", places))
    }
    write_json(folder / "config.json", config)
    modern = read_json(golden / "clip_tiny" / "preprocessor_config.json")
    old = {
        key: modern[key]
        for key in ("do_center_crop", "do_normalize", "do_resize", "image_mean", "image_std", "resample")
    }
    old |= {
        "crop_size": vision["image_size"],
        "size": vision["image_size"],
        "feature_extractor_type": "CLIPFeatureExtractor",
    }
    write_json(folder / "preprocessor_config.json", old)
    write_weights(folder, whole, form, 1)
    return Written(folder, whole, config)


def ecg_coca_pt(
    path: Path,
    golden: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    state: State | None = None,
    unsafe: bool = False,
) -> Written:
    """The whole ECG-CoCa as open_clip's trainer pickles it: state_dict with the DDP prefix, text tower, decoder, and
    the optimizer.

    `state`: of the encoder, bare names. `unsafe`: it also holds an argparse.Namespace, which weights_only=True refuses.
    """
    coca = small_coca(golden)
    encoder = state or random_state(ecg_shapes(coca), seed, dtype)
    rest: Shapes = {
        "module.logit_scale": (),
        "module.text.proj.weight": (32, 32),
        "module.text_decoder.text_projection": (32, 64),
    }
    rest |= {
        "module.text.transformer.embeddings.word_embeddings.weight": (64, 32),
        "module.text_decoder.ln_final.weight": (32,),
    }
    whole = {f"module.ecg.{name}": value for name, value in encoder.items()} | random_state(rest, seed + 1, dtype)
    moments = {
        n: {"step": torch.tensor(9.0), "exp_avg": torch.zeros_like(value)} for n, value in enumerate(whole.values())
    }
    optimizer = {"state": moments, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.98), "params": list(moments)}]}
    pickled: dict[str, Any] = {"epoch": 20, "name": "cpt_wfep", "state_dict": whole, "optimizer": optimizer}
    if unsafe:
        pickled["args"] = argparse.Namespace(model="coca_ViT-B-32", lr=1e-4)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(pickled, path)
    return Written(path, whole, coca)


# --- what is kept of a training
# --------------------------------------------------------------------------------------------------------
def _over(
    base: Path, golden: Path, vision_tower: str | Path | None, ecg_tower: str | Path | None
) -> tuple[dict[str, Any], dict[str, Shapes]]:
    """config.json of a training over `base`, a plain language model or a LLaVA folder, and the shapes of all parts it
    names."""
    config = read_json(base / "config.json")
    family = config["model_type"]
    if family in TEXT:
        kind = {"qwen2": "gem-qwen", "mistral": "llava-1.6-mistral"}.get(
            family, "llava-1.5" if ecg_tower is None else "gem"
        )
        text = {
            key: value
            for key, value in config.items()
            if key not in ("architectures", "model_type", "transformers_version")
        }
        config = _small_config(kind, golden, vision_tower or golden / "clip_tiny", text) | {
            "model_type": LLAVA_CLASSES[family][0]
        }
        config = {key: value for key, value in config.items() if "ecg" not in key and key != "open_clip_config"}
        if ecg_tower is not None:
            config |= {"mm_ecg_tower": str(ecg_tower), "open_clip_config": "coca_tiny", "ecg_projector_type": "linear"}
    elif (base / config["mm_vision_tower"]).is_dir():
        config["mm_vision_tower"] = str(base / config["mm_vision_tower"])
    coca = small_coca(golden) if "mm_ecg_tower" in config else None
    return config, llava_shapes(config, small_clip(golden), coca, newline=True)


def lora(
    folder: Path,
    golden: Path,
    base: Path,
    *,
    vision_tower: str | Path | None = None,
    ecg_tower: str | Path | None = None,
    tuned: Sequence[str] = ("mm_projector", "ecg_projector"),
    prefix: bool = True,
    form: str = "bin",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    rank: int = 4,
    alpha: int = 8,
    ecg_pairs: bool = False,
) -> Written:
    """What LLaVA's train.py leaves with --lora_enable, over `base` (see `_over`). No tokenizer: that is the base's.

    Args:
        vision_tower, ecg_tower: over a plain language model, where the frozen towers are (None: the golden CLIP; no ECG
            tower); they are not in the folder.
        tuned: parts in non_lora_trainables.bin: mm_projector, ecg_projector, vision_tower, ecg_tower, image_newline.
        prefix: its keys begin ``base_model.model.``, as PEFT's wrapper names them; LLaVA's loader takes both.
        form: of adapter_model: .bin of older PEFT, .safetensors of newer.
        ecg_pairs: also adapt the linears of the ECG tower's MLPs, which LLaVA's search finds where the base is a GEM
            [inf].
    """
    config, parts = _over(base, golden, vision_tower, ecg_tower)
    tuned = [part for part in tuned if part in parts]
    adapted = [name for name in parts["language_model"] if name.split(".")[-2] in ADAPTED and name.endswith(".weight")]
    found = list(ADAPTED)
    if ecg_pairs:
        adapted += [name for name in parts["ecg_tower"] if name.endswith((".c_fc.weight", ".c_proj.weight"))]
        found += ["c_fc", "c_proj"]
    shapes = joined(parts)
    pairs: Shapes = {}
    for name in adapted:
        rows, columns = shapes[name]
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        pairs |= {f"{stem}.lora_A.weight": (rank, columns), f"{stem}.lora_B.weight": (rows, rank)}
    adapter = random_state(pairs, seed, dtype)
    kept = random_state(joined({part: parts[part] for part in tuned}), seed + 1, dtype)
    rest = {f"base_model.model.{name}" if prefix else name: value for name, value in kept.items()}
    _write_configs(folder, golden, config)
    write_json(folder / "adapter_config.json", _adapter_config(base, rank, alpha, found))
    if form == "bin":
        torch.save(adapter, folder / "adapter_model.bin")
    else:
        save_file(adapter, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    torch.save(rest, folder / "non_lora_trainables.bin")
    return Written(folder, adapter | rest, config)


def _adapter_config(base: Path, rank: int, alpha: int, targets: Iterable[str]) -> dict[str, Any]:
    """adapter_config.json as PEFT 0.10 writes it."""
    values: dict[str, Any] = {
        "auto_mapping": None,
        "base_model_name_or_path": str(base),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    values |= {
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": alpha,
        "lora_dropout": 0.05,
    }
    values |= {
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {},
        "alpha_pattern": {},
        "revision": None,
    }
    return values | {
        "target_modules": sorted(targets),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }


def projectors(
    folder: Path,
    golden: Path,
    base: Path,
    *,
    vision_tower: str | Path | None = None,
    ecg_tower: str | Path | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Written:
    """What --tune_mm_mlp_adapter leaves over `base` (see `_over`): mm_projector.bin; GEM files the same dict again as
    ecg_projector.bin."""
    config, parts = _over(base, golden, vision_tower, ecg_tower)
    config |= {"tune_mm_mlp_adapter": True}
    state = random_state(
        joined({part: parts[part] for part in ("mm_projector", "ecg_projector") if part in parts}), seed, dtype
    )
    _write_configs(folder, golden, config)
    torch.save(state, folder / "mm_projector.bin")
    if "ecg_projector" in parts:
        torch.save(state, folder / "ecg_projector.bin")
    return Written(folder, state, config)
