"""``python -m llava_ecg.train``: read the flags, build the model, freeze, train, save."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from llava_ecg.checkpoint import quantize, weights
from llava_ecg.checkpoint.files.headers import read_header, read_json
from llava_ecg.checkpoint.lora import adapter_file
from llava_ecg.checkpoint.opening import open_source
from llava_ecg.checkpoint.places.find import find
from llava_ecg.checkpoint.source import Source
from llava_ecg.checkpoint.words import stream_report
from llava_ecg.data.dataset import ConversationDataset, load_conversations
from llava_ecg.data.packing import PackedDataset
from llava_ecg.ecg.formats import read
from llava_ecg.errors import InputError
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.loading import compose, load_projectors, load_tokenizer, open_checkpoint, tower_stream
from llava_ecg.plugins import templates
from llava_ecg.streams import StreamConfig
from llava_ecg.train.arguments import DataArguments, ModelArguments, TrainingArguments, parse
from llava_ecg.train.checks import check_answers, check_output, check_streams
from llava_ecg.train.flags import check_flags, notes, reason
from llava_ecg.train.trainer import Collator, LlavaEcgTrainer

_PROJECTORS = {"ecg": "linear", "image": "mlp2x_gelu"}
"""Stream -> kind of projector, where the flags name none."""

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the flags say. Exit code 2 for a mistake in them or in the data."""
    try:
        for library in ("accelerate", "peft"):
            if find_spec(library) is None:
                raise InputError(
                    f"training needs {library}, which is not installed; get it with: pip install 'llava-ecg[train]'"
                )
        quantize.hush()  # accelerate imports bitsandbytes
        model_args, data_args, args = parse(argv)
        check_flags(args, model_args, data_args)
        torch.manual_seed(args.seed)
        model, tokenizer = build(model_args, args)
        freeze(model, model_args)
        check_streams(model, model_args, data_args)
        check_output(model.config, model_args, Path(str(args.output_dir)))
        lines = [freeze_report(model)]
        for name, settings in model.config.streams.items():
            lines += [f"warning: {name}: {warning}" for warning in stream_report(name, settings).warnings]
        lines += notes(args)
        dataset = build_dataset(model, tokenizer, data_args, args)
        if dataset.max_length < args.model_max_length and "model_max_length" in args.given:
            lines.append(
                f"note: --model_max_length is {dataset.max_length} here, since the language model knows no more "
                "places than that"
            )
        model.config.derive = not dataset.goes_without()
        lines.append(f"{len(dataset)} conversations from {data_args.data_path}")
        if args.process_index == 0:
            print("\n".join(lines))
        check_answers(dataset, args.train_batch_size * args.world_size if args.dataloader_drop_last else 1)
        trainer = build_trainer(model, tokenizer, dataset, args)
        trainer.train()
        report = trainer.cut_report()
        trainer.save_model()
    except InputError as error:  # from a data worker it comes with the worker's traceback as its text
        said = str(error).strip().splitlines()[-1].removeprefix("llava_ecg.errors.InputError: ")
        print(f"llava_ecg.train: {''.join(map(_visible, said))}", file=sys.stderr)
        return 2
    if args.process_index == 0:
        if report is not None:
            print(report)
        print(f"saved to {args.output_dir}")
    return 0


def _visible(letter: str) -> str:
    """What steers a terminal, from a file's name or a flag's value, as text."""
    return letter if letter.isprintable() else repr(letter)[1:-1]


def warn(text: str) -> None:
    """A warning on standard error, from a data worker too."""
    print(f"llava_ecg.train: warning: {text}", file=sys.stderr, flush=True)


def build(model_args: ModelArguments, args: TrainingArguments) -> tuple[LlavaEcgForCausalLM, Any]:
    """A checkpoint of any layout to go on from, with towers added where they are named; or a new model over a language
    model."""
    dtype = torch.bfloat16 if args.bf16 and model_args.lora_enable else torch.float32
    source = open_source(model_args.model_name_or_path, base=model_args.base)
    if source.config["streams"]:
        _check_projector_types(source.config["streams"], model_args)
        if source.adapter is not None and model_args.lora_enable:
            _check_adapter(source.adapter, model_args, args)
        return _continued(model_args, args, dtype)
    if not (model_args.ecg_tower or model_args.vision_tower):
        raise InputError(
            f"{model_args.model_name_or_path} is a language model alone; give it towers to see with: --ecg_tower, "
            "--vision_tower"
        )
    folders = {"ecg": model_args.ecg_tower, "image": model_args.vision_tower}
    towers = {name: find(folder, "tower") for name, folder in folders.items() if folder}
    streams: dict[str, StreamConfig] = {}
    if "ecg" in towers:
        through = "image" if "image" in towers else None
        streams["ecg"] = tower_stream(
            towers["ecg"], projector=model_args.ecg_projector_type or _PROJECTORS["ecg"], through=through
        )
    if "image" in towers:
        streams["image"] = tower_stream(towers["image"], projector=model_args.mm_projector_type or _PROJECTORS["image"])
    templates.get(model_args.version or "v1")
    path = Path(model_args.model_name_or_path).expanduser()
    base = (
        str(path.resolve()) if path.is_dir() else model_args.model_name_or_path
    )  # found again from another folder too
    model = compose(
        base,
        streams,
        template=model_args.version or "v1",
        tower_folders=towers,
        model_max_length=min(
            args.model_max_length, source.config["text_config"].get("max_position_embeddings", args.model_max_length)
        ),
        dtype=dtype,
        trust_pickle=model_args.trust_pickle,
    )
    _begin_projectors(model, model_args)
    return model, load_tokenizer(find(base))


def _begin_projectors(model: LlavaEcgForCausalLM, model_args: ModelArguments) -> None:
    if model_args.pretrain_mm_mlp_adapter:
        load_projectors(model, Path(model_args.pretrain_mm_mlp_adapter), trust_pickle=model_args.trust_pickle)


def _check_projector_types(streams: Mapping[str, Any], model_args: ModelArguments) -> None:
    """A projector that the checkpoint has stays what it is.

    Raises:
        InputError: another kind was asked for.
    """
    for name, flag, asked in (
        ("ecg", "--ecg_projector_type", model_args.ecg_projector_type),
        ("image", "--mm_projector_type", model_args.mm_projector_type),
    ):
        kind = streams[name]["projector"] if name in streams else asked
        if asked is not None and asked != kind:
            raise InputError(
                f"{flag} {asked}: the projector of {model_args.model_name_or_path} is {kind} and stays so; leave "
                "it away"
            )


def _check_adapter(adapter: Path, model_args: ModelArguments, args: TrainingArguments) -> None:
    """A LoRA that is gone on with keeps its rank and its alpha.

    Raises:
        InputError: others were asked for.
    """
    held = read_json(adapter / "adapter_config.json")
    for flag, key in (("lora_r", "r"), ("lora_alpha", "lora_alpha")):
        asked = getattr(model_args, flag)
        if flag in args.given and asked != held.get(key):
            raise InputError(
                f"--{flag} {asked}: the LoRA in {adapter} has {held.get(key)} and is gone on with; leave it away"
            )


def _continued(
    model_args: ModelArguments, args: TrainingArguments, dtype: torch.dtype
) -> tuple[LlavaEcgForCausalLM, Any]:
    """A checkpoint to go on from. A LoRA, or projectors, over a whole one are saved as that, over the folder that it
    came from."""
    checkpoint = open_checkpoint(
        model_args.model_name_or_path,
        device="cpu",
        dtype=dtype,
        stream_dtype=torch.float32,
        base=model_args.base,
        ecg_tower=model_args.ecg_tower,
        vision_tower=model_args.vision_tower,
        template=model_args.version,
        projectors={
            "ecg": model_args.ecg_projector_type or _PROJECTORS["ecg"],
            "image": model_args.mm_projector_type or _PROJECTORS["image"],
        },
        trust_pickle=model_args.trust_pickle,
        merge=not model_args.lora_enable,
    )
    model = checkpoint.model
    unchanged = model_args.lora_enable or (model_args.tune_mm_mlp_adapter and checkpoint.adapter is None)
    if unchanged and model.config.base is None:
        model.config.base = str(checkpoint.folder.resolve())
    if model_args.lora_enable and checkpoint.adapter is not None:
        dropout = model_args.lora_dropout if "lora_dropout" in args.given else None
        model.language_model = _with_adapter(model.language_model, checkpoint.adapter, dropout, model_args.trust_pickle)
    _begin_projectors(model, model_args)
    return model, checkpoint.tokenizer


def _with_adapter(language_model: Any, adapter: Path, dropout: float | None, trust_pickle: bool) -> Any:
    """A language model in PEFT's wrapping, with the LoRA of a folder to go on with.

    Raises:
        InputError: a pickle that is not trusted, or pairs that have no place in the model.
    """
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict  # six seconds of import that only LoRA needs

    file = adapter_file(adapter)
    if file is None:
        raise InputError(f"{adapter} holds no LoRA")
    held = Source("lora", str(file), file, {}, read_header(file).tensors)
    state = {name: tensor.clone() for name, tensor in weights.stream(held, trust_pickle=trust_pickle)}
    settings = LoraConfig.from_pretrained(str(adapter))
    settings.inference_mode = False
    settings.init_lora_weights = True  # of A and B, which the file then fills
    settings.base_model_name_or_path = language_model.name_or_path  # saving writes the checkpoint's own base
    if dropout is not None:
        settings.lora_dropout = dropout
    wrapped = get_peft_model(language_model, settings)
    filled: Any = set_peft_model_state_dict(wrapped, state)
    if filled.unexpected_keys:
        raise InputError(
            f"{file} holds pairs for modules that the model does not have, such as {filled.unexpected_keys[0]}"
        )
    return wrapped


def freeze(model: LlavaEcgForCausalLM, model_args: ModelArguments) -> None:
    """Choose what is trained: projectors always, the language model (whole or by LoRA) unless projectors alone, towers
    when asked."""
    unfrozen = {"ecg": model_args.unfreeze_ecg_tower, "image": model_args.unfreeze_vision_tower}
    for name, tower in model.towers.items():
        tower.requires_grad_(unfrozen.get(name, False))
    if model.config.origin is not None:  # a tower that its layout took from outside has to be filed when it has changed
        outside = [each for each in model.config.origin["outside"] if not unfrozen.get(each.split(".")[1], False)]
        model.config.origin = dict(model.config.origin) | {"outside": outside}
    alone = model_args.tune_mm_mlp_adapter
    if hasattr(model.language_model, "peft_config"):
        return  # an adapter that is gone on with: PEFT has frozen the rest
    model.language_model.requires_grad_(not alone and not model_args.lora_enable)
    if model_args.lora_enable and not alone:
        from peft import LoraConfig, get_peft_model  # six seconds of import that only LoRA needs

        lora = LoraConfig(
            r=model_args.lora_r,
            lora_alpha=model_args.lora_alpha,
            lora_dropout=model_args.lora_dropout,
            target_modules=LORA_TARGETS,
            task_type="CAUSAL_LM",
        )
        model.language_model = get_peft_model(model.language_model, lora)
    elif not alone:
        model.config.base = None  # a language model that changes is saved with the rest


def freeze_report(model: LlavaEcgForCausalLM) -> str:
    """Every part, how many parameters it has and how many of them are trained."""
    parts = {f"towers.{name}": tower for name, tower in model.towers.items()}
    parts |= {f"projectors.{name}": projector for name, projector in model.projectors.items()}
    lines = [f"{'part':<20} {'parameters':>14} {'trained':>14}"]
    for name, part in {**parts, "language_model": model.language_model}.items():
        sizes = [(value.numel(), value.requires_grad) for value in part.parameters()]
        lines.append(f"{name:<20} {sum(n for n, _ in sizes):>14,} {sum(n for n, trained in sizes if trained):>14,}")
    return "\n".join(lines)


def build_dataset(
    model: LlavaEcgForCausalLM, tokenizer: Any, data_args: DataArguments, args: TrainingArguments
) -> ConversationDataset:
    """The conversations, prepared as the model's config says."""
    config: Any = model.config
    if "model_max_length" in args.given:  # also over what the checkpoint was trained with
        longest = min(
            args.model_max_length, getattr(config.text_config, "max_position_embeddings", args.model_max_length)
        )
        config.model_max_length = max(longest, config.model_max_length)
    else:
        longest = config.model_max_length
    return ConversationDataset(
        conversations=load_conversations(Path(data_args.data_path)),
        template=templates.get(config.template),
        tokenizer=tokenizer,
        preparers=model.preparers(),
        folders={"ecg": Path(data_args.ecg_folder), "image": Path(data_args.image_folder)},
        max_length=longest,
        derive=data_args.render_pages,
        readers={"ecg": read},
        modality_dropout=data_args.modality_dropout,
        seed=args.seed,
        tell=warn,
    )


def build_trainer(
    model: LlavaEcgForCausalLM, tokenizer: Any, dataset: ConversationDataset, args: TrainingArguments
) -> LlavaEcgTrainer:
    """The trainer of a model.

    Raises:
        InputError: the flags ask for a library that is not here.
    """
    collator = Collator(_pad_id(tokenizer))
    try:
        trainer = LlavaEcgTrainer(
            model=model,
            args=args,
            train_dataset=PackedDataset(dataset, seed=args.seed) if args.packing else dataset,
            data_collator=collator,
            processing_class=tokenizer,
        )
        trainer.create_optimizer()
        other = torch.optim.SGD(
            [torch.nn.Parameter(torch.zeros(1))], lr=args.learning_rate
        )  # the Trainer makes its own when it begins
        trainer.create_scheduler(num_training_steps=100, optimizer=other)
        trainer.lr_scheduler = None
        if args.torch_compile and args.torch_compile_mode:
            torch.compile(torch.nn.Identity(), backend=str(args.torch_compile_backend), mode=args.torch_compile_mode)
    except InputError:
        raise
    except Exception as error:  # each library refuses in its own way
        raise InputError(
            f"the training can't be set up as the flags say ({reason(error)}); leave the flag away or get what it needs"
        ) from error
    return trainer


def _pad_id(tokenizer: Any) -> int:
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
