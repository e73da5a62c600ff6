"""A flag does what it says, or is refused with one sentence before anything is loaded; none is taken for nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llava_ecg.data.grouping import GroupedSampler, grouped
from llava_ecg.errors import InputError
from llava_ecg.train import arguments
from llava_ecg.train.flags import check_flags
from llava_ecg.train.run import main

from .test_run import flags, losses, parts, toy  # noqa: F401  (fixtures)

NEEDED = ("--model_name_or_path", "m", "--data_path", "d", "--use_cpu", "--report_to", "none")


def said(words: str, folder: Path) -> str | None:
    """What a command line is refused with, None where it is taken. Nothing is loaded."""
    try:
        model, data, args = arguments.parse([*NEEDED, "--output_dir", str(folder), *words.split()])
        check_flags(args, model, data)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "words",
    [
        *(
            "--eval_steps 5",
            "--eval_on_start",
            "--do_eval",
            "--do_predict",
            "--prediction_loss_only",
            "--no_eval_do_concat_batches",
        ),
        *(
            "--bf16_full_eval",
            "--fp16_full_eval",
            "--include_for_metrics loss",
            "--batch_eval_metrics",
            "--label_names x",
        ),
        *(
            "--load_best_model_at_end",
            "--metric_for_best_model loss",
            "--greater_is_better true",
            "--save_strategy best",
        ),
        *("--push_to_hub", "--hub_model_id a/b", "--hub_always_push", "--hub_strategy end"),
        *("--ignore_data_skip", "--restore_callback_states_from_checkpoint"),
        *(
            "--fsdp",
            "--fsdp_config x.json",
            "--deepspeed x.json",
            "--parallelism_config x",
            "--ddp_backend gloo",
            "--ddp_timeout 60",
        ),
        *(
            "--use_liger_kernel",
            "--use_cache",
            "--remove_unused_columns",
            "--length_column_name n",
            "--optim_target_modules q_proj",
        ),
        *(
            "--lora_r 8",
            "--lora_alpha 8",
            "--lora_dropout 0.1",
            "--tower_lr 1e-3",
            "--lora_enable --tune_mm_mlp_adapter",
        ),
        *(
            "--gradient_checkpointing_kwargs {}",
            "--dataloader_persistent_workers",
            "--dataloader_multiprocessing_context spawn",
        ),
        *("--no_dataloader_in_order", "--project x", "--trackio_space_id x", "--fp16", "--debug tpu_metrics_debug"),
        "--lr_scheduler_type constant --warmup_steps 5",
        *("--optim sgd --adam_beta1 0.5", "--optim lion_32bit --adam_epsilon 0.1", "--optim_args nonsense=1"),
    ],
)
def test_what_would_come_to_nothing_is_refused(words: str, tmp_path: Path) -> None:
    answer = said(words, tmp_path)
    assert answer is not None
    assert "\n" not in answer


@pytest.mark.parametrize(
    "words",
    [
        *(
            "--lora_enable --lora_r 0",
            "--lora_enable --lora_alpha 0",
            "--lora_enable --lora_dropout 1",
            "--lora_enable --lora_dropout nan",
        ),
        *(
            "--modality_dropout 2",
            "--modality_dropout -0.1",
            "--label_smoothing_factor -1",
            "--label_smoothing_factor 1.5",
        ),
        *(
            "--per_device_train_batch_size 0",
            "--gradient_accumulation_steps 0",
            "--max_steps 0",
            "--num_train_epochs 0",
        ),
        *(
            "--learning_rate -1",
            "--learning_rate nan",
            "--weight_decay -1",
            "--mm_projector_lr -1",
            "--max_grad_norm -1",
        ),
        *(
            "--unfreeze_ecg_tower --tower_lr -1",
            "--adam_beta1 2",
            "--adam_epsilon -1",
            "--neftune_noise_alpha -5",
            "--seed -1",
        ),
        *(
            "--seed 99999999999999999999",
            "--data_seed -1",
            "--model_max_length 0",
            "--model_max_length -5",
            "--save_steps 0",
        ),
        *(
            "--dataloader_num_workers -1",
            "--dataloader_num_workers 1 --dataloader_prefetch_factor 0",
            "--lora_r x",
            "--lora_enable maybe",
        ),
        *(
            "--optim lomo",
            "--optim galore_adamw",
            "--optim grokadamw",
            "--optim_args bad",
            "--lr_scheduler_kwargs {bad",
        ),
        *('--accelerator_config {"nonsense":1}', '--accelerator_config {"dispatch_batches":true}', "--save_dtype int8"),
        *(
            '--gradient_checkpointing --gradient_checkpointing_kwargs {"nonsense":1}',
            "--lr_scheduler_type reduce_lr_on_plateau",
        ),
    ],
)
def test_what_means_nothing_is_refused(words: str, tmp_path: Path) -> None:
    answer = said(words, tmp_path)
    assert answer is not None
    assert "\n" not in answer


@pytest.mark.parametrize(
    "words",
    [
        *(
            "--lora_enable --lora_r 8 --lora_alpha 16",
            "--unfreeze_ecg_tower --tower_lr 1e-5",
            "--push_to_hub False",
            "--do_train True",
        ),
        *(
            "--gradient_checkpointing True",
            "--save_strategy steps --save_steps 50000 --save_total_limit 1",
            "--weight_decay 0.",
        ),
        *(
            "--warmup_steps 0.03 --lr_scheduler_type cosine",
            "--dataloader_num_workers 4",
            "--per_device_eval_batch_size 4",
            "--seed=7",
        ),
        *(
            "--group_by_modality_length True",
            "--eval_strategy no",
            "--optim adafactor",
            "--optim ademamix --optim_args alpha=3",
        ),
        *(
            '--gradient_checkpointing --gradient_checkpointing_kwargs {"use_reentrant":true}',
            "--local_rank 0",
            "--max-steps 3 --num_train_epochs 1",
        ),
    ],
)
def test_what_the_scripts_of_llava_pass_is_taken(words: str, tmp_path: Path) -> None:
    assert said(words, tmp_path) is None


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--optim", "adamw_torch_4bit"], "torchao"),
        (["--lr_scheduler_type", "cosine_with_min_lr"], "min_lr"),
        (["--lr_scheduler_type", "warmup_stable_decay"], "num_decay_steps"),
        (["--lr_scheduler_kwargs", '{"nonsense": 1}'], "nonsense"),
        (["--torch_compile_mode", "nonsense"], "nonsense"),
        (["--dataloader_drop_last", "--per_device_train_batch_size", "64"], "fill no batch of 64"),
    ],
)
def test_what_only_setting_up_tells_is_one_sentence(
    words: list[str],
    fault: str,
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*flags(toy, parts, tmp_path / "out"), *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("llava_ecg.train: ")
    assert fault in captured.err.splitlines()[-1]
    assert "{'loss'" not in captured.out


def test_flags_for_a_stream_that_is_not_there_are_refused(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = flags(toy, parts, tmp_path / "out", "--tune_mm_mlp_adapter")
    cut = words.index("--vision_tower")
    words = words[:cut] + words[cut + 2 :]
    words.remove("--render_pages")
    for more in (
        ["--render_pages"],
        ["--unfreeze_vision_tower"],
        ["--mm_projector_type", "linear"],
        ["--modality_dropout", "0.5"],
    ):
        assert main([*words, *more]) == 2
        assert f"{more[0]} comes to nothing" in capsys.readouterr().err.splitlines()[-1]
    assert main(words) == 0


def test_flags_for_a_new_model_are_done_or_refused_for_a_checkpoint(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from llava_ecg.model.loading import open_checkpoint

    assert main(flags(toy, parts, tmp_path / "first", "--tune_mm_mlp_adapter", "--max_steps", "1")) == 0
    words = flags(toy, parts, tmp_path / "second", "--tune_mm_mlp_adapter", "--max_steps", "1", "--learning_rate", "0")
    words = ["--model_name_or_path", str(tmp_path / "first"), *words[words.index("--data_path") :]]
    assert main([*words, "--mm_projector_type", "linear"]) == 2
    assert "is mlp2x_gelu and stays so" in capsys.readouterr().err
    assert main([*words, "--mm_projector_type", "mlp2x_gelu", "--version", "plain"]) == 0
    second = open_checkpoint(tmp_path / "second").model
    assert second.config.template == "plain"
    # the projectors of another file, to begin with
    from safetensors.torch import save_file

    file = tmp_path / "projectors.safetensors"
    begun = {name: torch.full_like(value, 0.25) for name, value in second.projectors.state_dict().items()}
    save_file(begun, file)
    assert main([*words, "--pretrain_mm_mlp_adapter", str(file)]) == 0
    for name, value in open_checkpoint(tmp_path / "second").model.projectors.state_dict().items():
        assert torch.equal(value, begun[name])


def test_a_lora_keeps_its_rank(toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    pytest.importorskip("peft")
    assert main(flags(toy, parts, tmp_path / "first", "--lora_enable", "--lora_r", "4", "--max_steps", "1")) == 0
    words = flags(toy, parts, tmp_path / "second", "--lora_enable", "--max_steps", "1")
    words = ["--model_name_or_path", str(tmp_path / "first"), *words[words.index("--data_path") :]]
    assert main([*words, "--lora_r", "8"]) == 2
    assert "--lora_r 8: the LoRA in" in capsys.readouterr().err
    assert main([*words, "--lora_r", "4", "--lora_dropout", "0.5"]) == 0
    assert '"lora_dropout": 0.5' in (tmp_path / "second" / "adapter" / "adapter_config.json").read_text()


def test_the_length_that_is_asked_for_is_the_length(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from llava_ecg.model.loading import open_checkpoint

    words = ["--tune_mm_mlp_adapter", "--max_steps", "1", "--learning_rate", "0"]
    assert main([*flags(toy, parts, tmp_path / "first", *words), "--model_max_length", "1200"]) == 0
    words = flags(toy, parts, tmp_path / "second", *words)
    words = ["--model_name_or_path", str(tmp_path / "first"), *words[words.index("--data_path") :]]
    for asked, length in (([], 1200), (["--model_max_length", "1100"], 1200), (["--model_max_length", "1500"], 1500)):
        assert main([*words, *asked]) == 0
        assert "note: --model_max_length" not in capsys.readouterr().out
        assert open_checkpoint(tmp_path / "second").model.config.model_max_length == length
    assert main([*words, "--model_max_length", "9999"]) == 0
    assert "note: --model_max_length is 2048 here" in capsys.readouterr().out  # the places of the tiny language model


def test_groups_are_of_like_length_and_kind() -> None:
    rng = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 1000, (1003,), generator=rng).tolist()
    kinds = [number % 7 == 0 for number in range(1003)]
    order = grouped(lengths, kinds, 8, rng)
    assert sorted(order) == list(range(1003))
    groups = [order[at : at + 8] for at in range(0, 1003 - 8 * 3, 8)]  # without what fills no group
    assert all(len({kinds[number] for number in group}) == 1 for group in groups)
    spans = [max(lengths[number] for number in group) - min(lengths[number] for number in group) for group in groups]
    assert sum(spans) / len(spans) < 60  # of a thousand; at random it is about 780
    assert lengths[order[0]] == max(lengths[group[0]] for group in groups)
    assert [len(grouped(lengths[:count], kinds[:count], 8, rng)) for count in (0, 1, 7, 9)] == [0, 1, 7, 9]


def test_a_sampler_repeats_itself_from_run_to_run_and_not_from_epoch_to_epoch() -> None:
    first, second = (GroupedSampler([5, 3, 9, 1, 7, 2] * 5, 2, seed=3) for _ in range(2))
    epochs = [list(first) for _ in range(3)]
    assert [list(second) for _ in range(3)] == epochs
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize(
    "flag", [["--train_sampling_strategy", "group_by_length"], ["--group_by_modality_length", "True"]]
)
def test_samples_of_like_length_go_together(
    flag: list[str],
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import json

    from llava_ecg.train.trainer import Collator

    shown = json.loads((toy / "train.json").read_text())[0]
    records = []
    for number in range(8):
        text = [{"from": "human", "value": "So?"}, {"from": "gpt", "value": "so " * (3 + 40 * (number % 2))}]
        records.append({"id": str(number), "conversations": text})
        records.append({"id": f"e{number}", "ecg": shown["ecg"], "conversations": text})
    data = tmp_path / "train.json"
    data.write_text(json.dumps(records))
    lengths: list[tuple[list[int], list[bool]]] = []
    collate = Collator.__call__

    def noted(self: Collator, samples: list) -> dict:  # type: ignore[type-arg]
        lengths.append(([len(each) for each in samples], [bool(each.streams["ecg"]) for each in samples]))
        return collate(self, samples)

    monkeypatch.setattr(Collator, "__call__", noted)
    words = [*flags(toy, parts, tmp_path / "out", "--tune_mm_mlp_adapter"), "--data_path", str(data), *flag]
    assert main([*words, "--per_device_train_batch_size", "4", "--learning_rate", "0"]) == 0
    assert losses(capsys.readouterr().out)
    assert [len(each) for each, _ in lengths] == [4] * 4
    assert all(len(set(each)) == 1 for each, _ in lengths)
    assert all(len(set(kinds)) == 1 for _, kinds in lengths)


def test_checkpointing_and_smaller_steps_change_no_result(toy: Path, parts: Path, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("peft")
    words = ("--lora_enable", "--lora_dropout", "0", "--max_steps", "2", "--optim", "sgd", "--seed", "1")
    for name, more in (
        ("plain", []),
        ("checkpointed", ["--gradient_checkpointing", "True"]),
        ("split", ["--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "2"]),
    ):
        assert main([*flags(toy, parts, tmp_path / name, *words), *more]) == 0
    plain, checkpointed, split = (
        load_file(tmp_path / name / "adapter" / "adapter_model.safetensors")
        for name in ("plain", "checkpointed", "split")
    )
    assert any(value.abs().max() > 0 for name, value in plain.items() if "lora_B" in name)
    for name, value in plain.items():
        torch.testing.assert_close(checkpointed[name], value, atol=1e-6, rtol=0)
        torch.testing.assert_close(split[name], value, atol=1e-6, rtol=0)


def test_a_message_steers_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                *NEEDED,
                "--output_dir",
                str(tmp_path),
                "--data_path",
                "a\x1b[2J\u202eb",
                "--model_name_or_path",
                "no\x1b]0;x",
            ]
        )
        == 2
    )
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("llava_ecg.train: ")
    assert error.isprintable()
