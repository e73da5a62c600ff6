"""The scripts of LLaVA and GEM, pasted: their flags run, or are refused with one sentence that says what to change."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llava_ecg.errors import InputError
from llava_ecg.model.loading import open_checkpoint
from llava_ecg.train import arguments
from llava_ecg.train.flags import check_flags, notes
from llava_ecg.train.former_names import FORMER
from llava_ecg.train.run import main

from .test_run import flags, losses, parts, toy  # noqa: F401  (fixtures)

NEEDED = ("--model_name_or_path", "m", "--data_path", "d", "--use_cpu", "--report_to", "none")
# What LLaVA-1.5's scripts pass beside paths, sizes and DeepSpeed.
LLAVA = (
    "--mm_vision_select_layer -2 --mm_use_im_start_end False --mm_use_im_patch_token False --image_aspect_ratio pad "
    "--group_by_modality_length True --bf16 False --num_train_epochs 1 --per_device_eval_batch_size 4 "
    "--gradient_accumulation_steps 1 --evaluation_strategy no --save_strategy no --save_total_limit 1 "
    "--learning_rate 2e-5 --weight_decay 0. --warmup_ratio 0.03 --lr_scheduler_type cosine --logging_steps 1 "
    "--tf32 True --gradient_checkpointing True --dataloader_num_workers 0 --lazy_preprocess True"
)


def parsed(words: str, folder: Path) -> tuple[arguments.ModelArguments, arguments.TrainingArguments]:
    model, data, args = arguments.parse([*NEEDED, "--output_dir", str(folder), *words.split()])
    check_flags(args, model, data)
    return model, args


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--evaluation_strategy no", "eval_strategy", "no"),
        ("--warmup_ratio 0.03", "warmup_steps", 0.03),
        ("--warmup_ratio=0", "warmup_steps", 0),
        ("--no_cuda True", "use_cpu", True),
        ("--adafactor True", "optim", "adafactor"),
        ("--per_gpu_train_batch_size 3", "per_device_train_batch_size", 3),
        ("--mm_vision_tower_lr 2e-6 --unfreeze_mm_vision_tower True", "vision_tower_lr", 2e-6),
    ],
)
def test_a_former_name_is_taken_as_todays(words: str, name: str, value: object, tmp_path: Path) -> None:
    _, args = parsed(words, tmp_path)
    found = getattr(args, name)
    assert getattr(found, "value", found) == value
    assert name in args.given
    told = [line for line in notes(args) if words.split()[0].partition("=")[0] in line]
    assert len(told) == 1
    assert name in told[0]


@pytest.mark.parametrize(
    "words",
    [
        *("--save_safetensors True", "--save_safetensors", "--lazy_preprocess True", "--mm_use_im_start_end False"),
        *("--overwrite_output_dir", "--half_precision_backend auto", "--include_tokens_per_second True"),
        *("--open_clip_config coca_ViT-B-32", "--lora_enable True --freeze_backbone True", "--lora_bias none"),
        *("--adafactor False", "--attn_implementation sdpa"),
    ],
)
def test_what_is_done_anyway_is_noted(words: str, tmp_path: Path) -> None:
    model, args = parsed(words, tmp_path)
    flag = [word for word in words.split() if word.startswith("--")][-1]
    assert [line for line in notes(args, model) if line.startswith(f"note: {flag} has no effect here")]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("--save_safetensors False", "safetensors alone"),
        ("--mm_use_im_start_end True", "leave it away"),
        ("--warmup_ratio 1.5", "a share of all steps"),
        ("--warmup_ratio", "a share of all steps"),
        ("--evaluation_strategy steps", "needs data to evaluate on"),
        ("--logging_dir logs", "TENSORBOARD_LOGGING_DIR"),
        ("--lora_weight_path a", "--model_name_or_path"),
        ("--mm_tunable_parts mm_mlp_adapter", "--tune_mm_mlp_adapter True"),
        ("--freeze_mm_mlp_adapter True", "--mm_projector_lr 0"),
        ("--fsdp_min_num_params 100", "torchrun"),
        ("--deepspeed ./scripts/zero3.json", "torchrun"),
        ("--push_to_hub_model_id a", "hf upload"),
        ("--bits 4", "--lora_enable True"),
        ("--bits 3 --lora_enable True", "4 (nf4), 8 (int8) or 16"),
        ("--bits 4 --lora_enable True --quant_type fp4", "nf4"),
        ("--bits 4 --lora_enable True --double_quant False", "leave it away"),
        ("--quant_type nf4", "--bits 4"),
        ("--ecg_tower_lr 1e-5", "--unfreeze_ecg_tower"),
        ("--vision_tower_lr 1e-5 --unfreeze_ecg_tower", "--unfreeze_vision_tower"),
        ("--ecg_projector_lr -1", "a number from 0"),
        ("--report_to wandb", "pip install wandb"),
    ],
)
def test_what_can_not_be_followed_says_what_to_change(
    words: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llava_ecg.train.flags._is_installed", lambda module: False)
    with pytest.raises(InputError) as refused:
        parsed(words, tmp_path)
    assert what in str(refused.value)
    assert "\n" not in str(refused.value)


def test_wandb_that_is_off_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llava_ecg.train.flags._is_installed", lambda module: False)
    monkeypatch.setenv("WANDB_MODE", "off")
    _, data, args = arguments.parse([*NEEDED[:-1], "wandb", "--output_dir", str(tmp_path)])
    check_flags(args, None, data)
    assert args.report_to == []
    assert any("WANDB_MODE" in line for line in notes(args))


def test_no_former_name_hides_a_flag_of_today() -> None:
    assert not FORMER & set(arguments.known_flags())


def test_every_flag_of_transformers_4_37_is_known() -> None:
    """Those that scripts of that time pass, of which transformers has dropped some since."""
    old = """
        evaluation_strategy warmup_ratio save_safetensors no_cuda group_by_length fp16_backend half_precision_backend
        fp16_opt_level past_index tpu_num_cores tpu_metrics_debug fsdp_min_num_params mp_parameters ray_scope adafactor
        fsdp_transformer_layer_cls_to_wrap use_legacy_prediction_loop include_inputs_for_metrics torchdynamo use_ipex
        push_to_hub_model_id push_to_hub_organization push_to_hub_token jit_mode_eval use_mps_device dispatch_batches
        split_batches include_tokens_per_second per_gpu_train_batch_size per_gpu_eval_batch_size overwrite_output_dir
        logging_dir deepspeed tf32 bf16 group_by_modality_length dataloader_num_workers
    """
    assert set(old.split()) - FORMER - set(arguments.known_flags()) == set()


def test_llavas_script_runs(toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    words = flags(toy, parts, tmp_path / "out", "--max_steps", "2", *LLAVA.split(), "--learning_rate", "1e-2")
    assert main(words) == 0
    out = capsys.readouterr().out
    assert len(losses(out)) == 2
    assert "note: --evaluation_strategy is called --eval_strategy today" in out
    config = open_checkpoint(tmp_path / "out").model.config
    assert config.streams["image"]["preparation"]["aspect"] == "pad"
    assert config.streams["image"]["tower_config"]["select_layer"] == -2
    # and the checkpoint that comes of it keeps them
    words = ["--model_name_or_path", str(tmp_path / "out"), *words[words.index("--data_path") :]]
    for more, fault in (
        (["--image_aspect_ratio", "square"], "has pad and keeps it"),
        (["--mm_vision_select_layer", "-1"], "has -2 and keeps it"),
        (["--mm_vision_select_feature", "cls_patch"], "has patch and keeps it"),
    ):
        assert main([*words, *more]) == 2
        assert fault in capsys.readouterr().err


def test_gems_script_runs(toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    gem = (
        "--open_clip_config coca_ViT-B-32 --ecg_projector_type linear --mm_projector_type mlp2x_gelu "
        "--mm_vision_select_feature cls_patch --image_aspect_ratio square --mm_patch_merge_type flat "
        "--freeze_backbone True"
    )
    words = flags(
        toy, parts, tmp_path / "out", *LLAVA.split(), *gem.split(), "--learning_rate", "1e-2", "--max_steps", "1"
    )
    assert main(words) == 0
    model = open_checkpoint(tmp_path / "out").model
    assert model.config.base == str(parts / "base")  # the language model was frozen, and is named
    assert model.config.streams["image"]["preparation"]["aspect"] == "ori"
    assert model.config.streams["image"]["tower_config"]["select_feature"] == "cls_patch"
    # the projectors of other files to begin with: the image's of one, the ECG's of another, which wins
    halves = {"image": 0.25, "ecg": 0.5}
    for name, value in halves.items():
        state = {key: torch.full_like(each, value) for key, each in model.projectors.state_dict().items()}
        save_file({key: each for key, each in state.items() if key.startswith(name)}, tmp_path / f"{name}.safetensors")
    begin = ["--pretrain_mm_mlp_adapter", str(tmp_path / "image.safetensors"), "--learning_rate", "0"]
    begin += ["--pretrain_ecg_projector", str(tmp_path / "ecg.safetensors")]
    assert main([*words, *begin]) == 0
    state = load_file(tmp_path / "out" / "streams.safetensors")
    for name, value in halves.items():
        found = {
            float(each)
            for key, kept in state.items()
            if key.startswith(f"projectors.{name}.")
            for each in kept.flatten()
        }
        assert found == {value}
    assert main([*words, *begin[:2], "--pretrain_ecg_projector", str(tmp_path / "image.safetensors")]) == 2
    assert "has no projector of the stream 'ecg'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("--mm_patch_merge_type spatial", "without --image_aspect_ratio anyres"),
        ("--image_grid_pinpoints [[56,112]]", "without --image_aspect_ratio anyres"),
        ("--image_aspect_ratio anyres", "needs --image_grid_pinpoints"),
        ("--image_aspect_ratio anyres --image_grid_pinpoints 3", "can't be read"),
        ("--image_aspect_ratio round", "aspect 'round'"),
        ("--mm_vision_select_layer 9", "the hidden state 9"),
        ("--mm_vision_select_feature all", "no feature 'all'"),
    ],
)
def test_an_image_tower_that_can_not_be_is_refused(
    words: str,
    fault: str,
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*flags(toy, parts, tmp_path / "out"), *words.split()]) == 2
    assert fault in capsys.readouterr().err.splitlines()[-1]


def test_arguments_have_their_words() -> None:
    for kind in (arguments.ModelArguments, arguments.DataArguments):
        assert all(item.metadata.get("help") for item in dataclasses.fields(kind))
