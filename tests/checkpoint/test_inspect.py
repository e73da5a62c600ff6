"""`llava-ecg inspect` on small folders in the released layouts: counts against the tensors that were written, faults,
words, JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from llava_ecg.checkpoint.fit import fit, refuse_faults
from llava_ecg.checkpoint.inspect import inspect
from llava_ecg.checkpoint.inspected import LAYOUTS, Part, Report
from llava_ecg.checkpoint.opening import open_source
from llava_ecg.checkpoint.words import stream_report
from llava_ecg.errors import InputError
from tests.model import released
from tests.model.released_7b import seven_b, sparse_seven_b
from tests.model.released_files import State

# their prefix -> our part; the first that fits
THEIRS = (
    ("model.ecg_tower.", "towers.ecg"),
    ("model.vision_tower.", "towers.image"),
    ("model.ecg_projector.", "projectors.ecg"),
    ("model.mm_projector.", "projectors.image"),
    ("model.image_newline", "image_newline"),
    ("", "language_model"),
)


def counted(state: State) -> dict[str, int]:
    """Our part -> parameters, by the names in the files."""
    counts: dict[str, int] = {}
    for name, value in state.items():
        plain = name.removeprefix("base_model.model.")
        part = next(part for prefix, part in THEIRS if plain.startswith(prefix))
        counts[part] = counts.get(part, 0) + value.numel()
    return counts


def parts(report: Report) -> dict[str, Part]:
    return {part.name: part for part in report.parts}


def shown(report: Report) -> str:
    return "\n".join(report.lines())


def clip_beside(folder: Path, golden: Path) -> Path:
    return released.clip_folder(folder.parent / "clip", golden).folder


WHOLE: dict[str, Callable[[Path, Path], released.Written]] = {
    "gem": lambda folder, golden: released.gem(folder, golden, dtype=torch.bfloat16, shards=2),
    "gem-qwen, .bin": lambda folder, golden: released.gem_qwen(folder, golden, form="bin"),
    "gem-qwen, tied": lambda folder, golden: released.gem_qwen(folder, golden, tied=True),
    "pulse": released.pulse,
    "llava-1.6-vicuna": lambda folder, golden: released.llava_16(folder, golden, dtype=torch.float16),
    "llava-1.6-mistral": lambda folder, golden: released.llava_16(folder, golden, family="mistral"),
    "language model": lambda folder, golden: released.language_model(folder, golden, family="qwen2"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_parts_have_the_parameters_of_their_tensors(kind: str, tmp_path: Path, golden: Path) -> None:
    written = WHOLE[kind](tmp_path / "m", golden)
    report = inspect(written.folder)
    found = report.to_dict()
    assert {part.name: part.parameters for part in report.parts} == counted(written.state)
    assert sum(part.tensors for part in report.parts) == len(written.state)
    assert found["bytes"] == sum(value.numel() * value.element_size() for value in written.state.values())
    assert found["complete"] is True and found["missing"] == found["left_over"] == found["mis_shaped"] == []
    assert {part.dtype for part in report.parts} == {
        str(next(iter(written.state.values())).dtype).removeprefix("torch.")
    }
    assert found["base"] is None and found["tokenizer"] == str(written.folder)
    files = [*written.folder.glob("model*.safetensors"), *written.folder.glob("pytorch_model*.bin")]
    assert {file["path"]: file["bytes"] for file in found["files"]} == {
        str(path): path.stat().st_size for path in files
    }
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    text = shown(report)
    assert f"{sum(counted(written.state).values()):,}" in text and "complete: every tensor" in text
    assert ("crop" in text) == kind.startswith("gem")
    assert ("newline" in text) == (kind == "pulse" or "1.6" in kind)


def test_a_head_that_is_filed_beside_its_embedding_counts_once(tmp_path: Path, golden: Path) -> None:
    written = released.gem_qwen(tmp_path / "m", golden, tied=True, form="bin")
    report = inspect(written.folder)
    assert "lm_head.weight" in written.state
    assert (
        parts(report)["language_model"].parameters
        == counted(written.state)["language_model"] - written.state["lm_head.weight"].numel()
    )
    assert report.to_dict()["complete"] is True


def test_a_tower_outside_the_folder(tmp_path: Path, golden: Path) -> None:
    clip = clip_beside(tmp_path / "m", golden)
    written = released.llava_15(tmp_path / "m", golden, clip)
    report = inspect(written.folder)
    weights = {name: value for name, value in written.state.items() if not name.endswith("inv_freq")}
    assert {name: part.parameters for name, part in parts(report).items() if name != "towers.image"} == counted(weights)
    assert parts(report)["towers.image"].where == str(clip / "pytorch_model.bin")
    assert parts(report)["language_model"].where == "2 files"
    assert (
        report.to_dict()["complete"] is True and report.to_dict()["computed"] == len(written.state) - len(weights) > 0
    )
    assert f"passed over: {len(written.state) - len(weights)} buffers" in shown(report)
    assert {file.path.name for file in report.files} == {
        path.name for path in tmp_path.rglob("pytorch_model*.bin")
    }  # no mm_projector.bin
    assert "padded to a square" in shown(report)


@pytest.mark.parametrize("prefix", [True, False])
def test_a_lora_over_its_base(prefix: bool, tmp_path: Path, golden: Path) -> None:
    base = released.gem(tmp_path / "base", golden, dtype=torch.bfloat16)
    written = released.lora(tmp_path / "lora", golden, base.folder, prefix=prefix, ecg_pairs=True)
    report = inspect(written.folder)
    found, filed = report.to_dict(), counted(base.state)
    pairs = {name: value.numel() for name, value in written.state.items() if ".lora_" in name}
    tuned = counted({name: value for name, value in written.state.items() if ".lora_" not in name})
    in_tower = sum(count for name, count in pairs.items() if "ecg_tower" in name)
    adapted = {"lora.language_model": sum(pairs.values()) - in_tower, "lora.towers.ecg": in_tower}
    assert {part.name: part.parameters for part in report.parts} == filed | tuned | adapted
    assert found["layout"] == "lora" and found["base"] == str(base.folder) and found["tokenizer"] == str(base.folder)
    [lora] = [part for part in found["parts"] if part["name"] == "lora.language_model"]
    assert (
        lora["ranks"] == [4] and lora["kind"] == f"rank 4, {sum('ecg_tower' not in name for name in pairs) // 2} pairs"
    )
    assert lora["where"] == "adapter_model.bin"
    assert parts(report)["language_model"].dtype == "bfloat16" and parts(report)["projectors.ecg"].dtype == "float32"
    assert parts(report)["projectors.ecg"].where == "non_lora_trainables.bin"
    assert found["complete"] is True and "stands on" in shown(report)


def test_projectors_over_a_base_that_is_given(tmp_path: Path, golden: Path) -> None:
    base = released.language_model(tmp_path / "lm", golden)
    clip, coca = clip_beside(tmp_path / "m", golden), ecg_coca(tmp_path / "coca.pt", golden)
    written = released.projectors(tmp_path / "proj", golden, base.folder, vision_tower=clip, ecg_tower=coca)
    with pytest.raises(InputError, match="--base"):
        inspect(written.folder)
    report = inspect(written.folder, base=base.folder)
    assert {name: parts(report)[name].parameters for name in counted(written.state)} == counted(written.state)
    assert parts(report)["towers.ecg"].where == str(coca)
    assert report.to_dict()["complete"] is True


def test_ours_over_a_base_and_parts_of_two_dtypes(tmp_path: Path, golden: Path) -> None:
    base = released.language_model(tmp_path / "lm", golden)
    gem = open_source(released.gem(tmp_path / "gem", golden).folder)
    ours = tmp_path / "ours"
    ours.mkdir()
    state = {
        name: load_file(ref.path)[ref.name]
        for name, ref in gem.tensors.items()
        if not name.startswith("language_model.")
    }
    state["projectors.image.0.bias"] = state["projectors.image.0.bias"].half()
    save_file(state, ours / "streams.safetensors")
    config = {key: gem.config[key] for key in ("text_config", "streams", "template")}
    (ours / "config.json").write_text(json.dumps(config | {"model_type": "llava_ecg", "base": str(base.folder)}))
    report = inspect(ours)
    assert report.layout == "ours over a base" and report.base == str(base.folder)
    assert parts(report)["projectors.image"].dtype == "float32 + float16"
    assert parts(report)["projectors.image"].parameters == sum(
        v.numel() for k, v in state.items() if k.startswith("projectors.image.")
    )
    assert report.to_dict()["model_max_length"] == 4096  # what the config leaves out
    assert "in the order of the file" in shown(report)


def test_a_stream_that_is_added_begins_at_random(tmp_path: Path, golden: Path) -> None:
    written = released.pulse(tmp_path / "pulse", golden)
    coca = ecg_coca(tmp_path / "coca.pt", golden)
    report = inspect(written.folder, ecg_tower=coca)
    projector = parts(report)["projectors.ecg"]
    width = report.streams["ecg"].width or 0
    assert projector.parameters == (width + 1) * (report.streams["image"].width or 0)
    assert (projector.tensors, projector.size, projector.dtypes) == (0, 0, {})
    assert report.to_dict()["untrained"] == ["projectors.ecg"] and report.to_dict()["complete"] is True
    assert "projectors.ecg is in no file and begins at random" in shown(report) and "every other place" in shown(report)


def test_a_7b_folder_is_complete_and_read_by_its_headers(tmp_path: Path) -> None:
    report = inspect(sparse_seven_b(tmp_path / "gem", "gem"))
    assert sum(part.parameters for part in report.parts) == sum(math.prod(shape) for shape in seven_b("gem").values())
    text = shown(report)
    assert "6,738,415,616" in text and "14.30 GB" in text and "complete" in text
    assert "tokenizer  missing" in text


# -- what does not fit


def spoilt(golden: Path, folder: Path, change: Callable[[State], None]) -> Report:
    """The report on a GEM whose tensors were changed."""
    written = released.gem(folder, golden)
    state = dict(written.state)
    change(state)
    save_file(state, folder / "model.safetensors")
    return inspect(folder)


def test_missing_left_over_and_misshaped_tensors_are_listed(tmp_path: Path, golden: Path) -> None:
    def change(state: State) -> None:
        del state["model.mm_projector.2.bias"]
        state["stray.weight"] = torch.zeros(3)
        state["model.layers.9.mlp.up_proj.weight"] = torch.zeros(2, 2)
        state["model.norm.weight"] = torch.ones(63)

    report = spoilt(golden, tmp_path / "gem", change)
    found = report.to_dict()
    assert found["complete"] is False
    assert found["missing"] == ["projectors.image.2.bias"]
    assert found["left_over"] == ["stray.weight", "language_model.model.layers.9.mlp.up_proj.weight"]
    assert found["mis_shaped"] == ["language_model.model.norm.weight is 63 in model.safetensors and 64 in the model"]
    lines = report.lines()
    assert lines[lines.index("missing: 1") + 1] == "  projectors.image.2.bias"
    assert lines[lines.index("left over: 2") + 1 : lines.index("left over: 2") + 3] == [
        f"  {name}" for name in found["left_over"]
    ]
    assert lines[lines.index("mis-shaped: 1") + 1] == f"  {found['mis_shaped'][0]}"
    assert not any(line.startswith("complete") for line in lines)
    with pytest.raises(InputError, match="missing projectors.image.2.bias; left over stray.weight; .*63 in model"):
        refuse_faults(report.fit.phrases if report.fit else [], "gem")


def test_of_a_long_list_twenty_are_shown_and_all_are_in_the_json(tmp_path: Path, golden: Path) -> None:
    def change(state: State) -> None:
        for name in [name for name in state if name.startswith("model.ecg_tower.") and ".resblocks." in name]:
            del state[name]

    written = released.gem(tmp_path / "whole", golden)
    gone = sum(".resblocks." in name for name in written.state)
    report = spoilt(golden, tmp_path / "gem", change)
    assert len(report.to_dict()["missing"]) == gone > 20
    lines = report.lines()
    at = lines.index(f"missing: {gone}")
    assert lines[at + 21] == f"  and {gone - 20} more" and len(lines) == at + 22
    with pytest.raises(InputError, match=f"and {gone - 20} more$"):
        refuse_faults(report.fit.phrases if report.fit else [], "gem")


def test_a_part_that_is_wholly_missing(tmp_path: Path, golden: Path) -> None:
    def change(state: State) -> None:
        for name in [name for name in state if name.startswith("model.ecg_projector.")]:
            del state[name]

    report = spoilt(golden, tmp_path / "gem", change)
    assert (parts(report)["projectors.ecg"].parameters, parts(report)["projectors.ecg"].where) == (
        0,
        "in no file: missing",
    )
    assert report.to_dict()["missing"] == ["projectors.ecg.bias", "projectors.ecg.weight"]


def test_a_lora_that_does_not_fit(tmp_path: Path, golden: Path) -> None:
    base = released.gem(tmp_path / "base", golden)
    written = released.lora(tmp_path / "lora", golden, base.folder, form="safetensors")
    state = load_file(written.folder / "adapter_model.safetensors")
    name = next(name for name in state if name.endswith("q_proj.lora_A.weight"))
    state[name] = torch.zeros(4, 63)
    save_file(state, written.folder / "adapter_model.safetensors")
    [fault] = inspect(written.folder).to_dict()["mis_shaped"]
    assert (
        fault == "the LoRA of language_model.model.layers.0.self_attn.q_proj.weight is 64 x 4 times 4 x 63, and the "
        "weight is 64 x 64"
    )


def test_without_arithmetic_nothing_is_claimed(tmp_path: Path, golden: Path) -> None:
    written = released.language_model(tmp_path / "lm", golden)
    (written.folder / "config.json").write_text(json.dumps(written.config | {"model_type": "phi"}))
    report = inspect(written.folder)
    found = report.to_dict()
    assert found["complete"] is found["missing"] is found["mis_shaped"] is None and found["left_over"] == []
    assert parts(report)["language_model"].parameters == counted(written.state)["language_model"]
    assert "can't be told without building it" in shown(report)


# -- towers alone


def ecg_coca(path: Path, golden: Path, unsafe: bool = False) -> Path:
    """A small ECG-CoCa, with the description that a small one needs."""
    path.with_suffix(".json").write_bytes((golden / "ecg_tower_config.json").read_bytes())
    return released.ecg_coca_pt(path, golden, unsafe=unsafe).folder


def test_an_ecg_coca_alone(tmp_path: Path, golden: Path) -> None:
    path = ecg_coca(tmp_path / "coca.pt", golden)
    state = torch.load(path, weights_only=True)["state_dict"]
    own = {name: value for name, value in state.items() if name.startswith("module.ecg.")}
    report = inspect(path)
    [part], found = report.parts, report.to_dict()
    assert (part.name, part.kind, part.where) == ("towers.ecg", "ecg_coca", "coca.pt")
    assert (part.tensors, part.parameters) == (len(own), sum(value.numel() for value in own.values()))
    assert found["unused"] == len(state) - len(own) > 0 and found["complete"] is True
    assert found["files"] == [{"path": str(path), "format": "pickle", "bytes": path.stat().st_size, "refused": []}]
    assert found["template"] is None and found["streams"]["ecg"]["tokens"] == 101
    assert "--trust-pickle" not in shown(report)
    with pytest.raises(InputError, match="tower alone .* leave --base"):
        inspect(path, base=tmp_path)


def test_a_pickle_that_wants_trust(tmp_path: Path, golden: Path) -> None:
    report = inspect(ecg_coca(tmp_path / "coca.pt", golden, unsafe=True))
    assert report.to_dict()["files"][0]["refused"] == ["argparse.Namespace"]
    assert "coca.pt asks for argparse.Namespace when it is opened: it wants --trust-pickle" in shown(report)


@pytest.mark.parametrize("write", [released.clip_folder, released.clip_vision_folder])
def test_a_clip_alone(write: Callable[..., released.Written], tmp_path: Path, golden: Path) -> None:
    written = write(tmp_path / "clip", golden)
    own = {
        name: value
        for name, value in written.state.items()
        if name.startswith("vision_model.") and "position_ids" not in name
    }
    report = inspect(written.folder)
    [part] = report.parts
    assert (part.name, part.tensors, part.parameters) == (
        "towers.image",
        len(own),
        sum(value.numel() for value in own.values()),
    )
    assert report.unused == sum(not name.startswith("vision_model.") for name in written.state)
    assert report.to_dict()["complete"] is True


def test_a_tower_of_ours_that_lacks_a_tensor(tmp_path: Path, golden: Path) -> None:
    coca = open_source(released.gem(tmp_path / "gem", golden).folder)
    folder = tmp_path / "tower"
    folder.mkdir()
    state = {
        name.removeprefix("towers.ecg."): load_file(r.path)[r.name]
        for name, r in coca.tensors.items()
        if "towers.ecg." in name
    }
    del state["ln_post.bias"]
    save_file(state | {"more": torch.zeros(1)}, folder / "model.safetensors")
    config = {
        "tower": "ecg_coca",
        "tower_config": coca.config["streams"]["ecg"]["tower_config"],
        "preparation": {"rate": 250},
    }
    (folder / "config.json").write_text(json.dumps(config))
    report = inspect(folder)
    assert report.to_dict()["missing"] == ["ln_post.bias"] and report.to_dict()["left_over"] == ["more"]
    assert "250 Hz (20 s)" in shown(report)
    (folder / "config.json").write_text(json.dumps(config | {"tower": ["ecg_coca"]}))
    with pytest.raises(InputError, match="damaged"):
        inspect(folder)
    (folder / "config.json").write_text(json.dumps(config | {"tower": "somebodys"}))
    report = inspect(folder)
    assert report.to_dict()["complete"] is None and report.parts[0].tensors == len(state) + 1
    assert report.streams["somebodys"].tokens is None and "plug-in tower somebodys" in shown(report)


# -- words


def test_the_defaults_that_are_said_are_those_of_the_preparers() -> None:
    from llava_ecg.model.config import LlavaEcgConfig
    from llava_ecg.model.towers.tower import build_tower

    configs: dict[str, dict[str, Any]] = {
        "ecg_coca": {"layers": 1, "seq_length": 2500},
        "clip": {"vision_config": {"num_hidden_layers": 1, "image_size": 336, "patch_size": 14}},
    }
    whole = configs["clip"] | {"select_feature": "cls_patch"}
    with torch.device("meta"):
        towers = {kind: build_tower(kind, config) for kind, config in configs.items()}
        with_class_token = build_tower("clip", whole)
    for kind, tower in towers.items():
        preparer = tower.preparer()
        said = stream_report("s", {"tower": kind, "tower_config": configs[kind]})
        assert (said.width, said.tokens) == (tower.width, tower.tokens)
        usual = {field.name: getattr(preparer, field.name) for field in dataclasses.fields(preparer)}
        taken = {name: usual[name] for name in ("leads", "rate", "aspect") if name in usual}
        assert (
            taken
            and said.words
            == stream_report("s", {"tower": kind, "tower_config": configs[kind], "preparation": taken}).words
        )
    clip = towers["clip"]
    explicit = configs["clip"] | {"select_layer": clip.select_layer, "select_feature": clip.select_feature}
    without = stream_report("s", {"tower": "clip", "tower_config": configs["clip"]})
    assert without.words == stream_report("s", {"tower": "clip", "tower_config": explicit}).words
    assert stream_report("s", {"tower": "clip", "tower_config": whole}).tokens == with_class_token.tokens
    config: Any = LlavaEcgConfig()
    assert (config.template, config.model_max_length) == (
        "v1",
        4096,
    )  # what `inspect` says of a config that leaves them out


def test_a_page_in_tiles() -> None:
    pinpoints = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    settings = {
        "tower": "clip",
        "projector": "mlp2x_gelu",
        "preparation": {"aspect": "anyres", "pinpoints": pinpoints, "merge": "flat"},
    }
    said = stream_report("image", settings)
    assert "336 x 672, 672 x 336, 672 x 672, 1008 x 336, 336 x 1008" in said.words[0]
    assert (
        said.words[1].startswith("576 tokens") and "up to 5 views, merged flat" in said.words[1] and not said.warnings
    )
    odd = stream_report(
        "image", settings | {"preparation": {"aspect": "anyres", "pinpoints": [[336, "x"]], "merge": ["\n"]}}
    )
    assert "\n" not in "".join(odd.words)


@pytest.mark.parametrize("rate", [0, -1, True, math.nan, math.inf, 10**400, "500\n", [500]])
def test_a_rate_that_is_none(rate: Any) -> None:
    said = stream_report("ecg", {"tower": "ecg_coca", "preparation": {"rate": rate}})
    assert len(said.words) == 2 and "\n" not in said.words[0]


def test_strange_values_of_a_config_are_still_json(tmp_path: Path, golden: Path) -> None:
    gem = open_source(released.gem(tmp_path / "gem", golden).folder)
    ours = tmp_path / "ours"
    ours.mkdir()
    save_file({name: load_file(ref.path)[ref.name] for name, ref in gem.tensors.items()}, ours / "model.safetensors")
    nested: list[Any] = []
    for _ in range(200):
        nested = [nested]
    streams = {
        name: each | {"preparation": {"rate": math.nan, "aspect": nested}}
        for name, each in gem.config["streams"].items()
    }
    values = {
        "model_type": "llava_ecg",
        "text_config": gem.config["text_config"],
        "streams": streams,
        "template": "a\nb",
    }
    (ours / "config.json").write_text(json.dumps(values))
    report = inspect(ours)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["streams"]["ecg"]["preparation"]["rate"] == "nan"
    assert not any("\n" in line for line in report.lines())
    assert report.fit is not None and not report.fit.phrases


def test_every_layout_has_its_words() -> None:
    assert set(LAYOUTS) == {"llava", "lora", "projectors", "ours", "ours over a base", "language model", "tower"}
    assert all(len(words) < 90 for words in LAYOUTS.values())


# -- frozen or trained


@pytest.mark.parametrize("kind", ["gem", "lora", "llava-1.6-mistral"])
def test_frozen_and_trained_are_what_training_chooses(kind: str, tmp_path: Path, golden: Path) -> None:
    from llava_ecg.model.loading import open_checkpoint
    from llava_ecg.train.arguments import ModelArguments
    from llava_ecg.train.run import freeze

    written = WHOLE["gem" if kind == "lora" else kind](tmp_path / "m", golden)
    folder = released.lora(tmp_path / "lora", golden, written.folder).folder if kind == "lora" else written.folder
    arguments = ModelArguments(model_name_or_path=str(folder))
    model = open_checkpoint(folder, merge=not arguments.lora_enable).model
    freeze(model, arguments)
    chosen: dict[str, set[str]] = {}
    for name, parameter in model.named_parameters():
        part = ".".join(name.split(".")[: 2 if name.startswith(("towers.", "projectors.")) else 1])
        chosen.setdefault(part, set()).add("trained" if parameter.requires_grad else "frozen")
    said = {part.name: {part.tuning} for part in inspect(folder).parts}
    assert {name: tuning for name, tuning in said.items() if not name.startswith("lora.")} == chosen
    assert said.get("lora.language_model") == ({"merged"} if kind == "lora" else None)


# -- the command


def test_the_command_prints_one_object_and_imports_nothing_heavy(tmp_path: Path, golden: Path) -> None:
    gem = released.gem(tmp_path / "gem", golden)
    lora = released.lora(tmp_path / "lora", golden, gem.folder)
    heavy = (
        "[name for name in ('torch', 'transformers', 'numpy', 'safetensors', 'huggingface_hub', 'PIL') if name in "
        "sys.modules]"
    )
    words = ["inspect", str(lora.folder)]
    code = (
        f"import sys\nfrom llava_ecg.cli import main\nassert main({[*words, '--json']}) == 0\nassert main({words}) "
        f"== 0\nprint({heavy})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    first, *rest = done.stdout.splitlines()
    report = inspect(str(lora.folder))
    assert json.loads(first) == report.to_dict()
    assert rest == [*report.lines(), "[]"] and done.stderr == ""


def test_fit_passes_over_what_is_to_be_initialised(tmp_path: Path, golden: Path) -> None:
    source = open_source(released.language_model(tmp_path / "lm", golden).folder)
    wanted = source.shapes | {"projectors.ecg.weight": (2, 2), "projectors.image.weight": (2, 2)}
    assert fit(dataclasses.replace(source, fresh=("projectors.ecg.",)), wanted).missing == ("projectors.image.weight",)
    assert fit(source, wanted).phrases == ["missing projectors.ecg.weight", "missing projectors.image.weight"]
