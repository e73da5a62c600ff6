"""Both layouts of ours go to disk and back; what does not fit is named."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llava_ecg.checkpoint.places.find import find
from llava_ecg.checkpoint.source import ADAPTER, STREAMS
from llava_ecg.errors import InputError
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.loading import compose, open_checkpoint, tower_stream
from llava_ecg.model.saving import save_checkpoint, save_tower, whole_folder
from llava_ecg.model.towers.ecg_coca import EcgCoCaTower
from llava_ecg.streams import StreamConfig

ECG = {"layers": 1, "width": 16, "head_width": 8, "embed_dim": 8}
CLIP = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
STREAM = {
    "ecg": StreamConfig("ecg_coca", ECG, "linear", "image"),
    "image": StreamConfig("clip", {"vision_config": CLIP}, "mlp2x_gelu"),
}
TEXT = {"vocab_size": 98, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def inputs() -> dict[str, Any]:
    torch.manual_seed(5)
    slots = torch.zeros(1, 120, dtype=torch.int8)
    slots[0, 2:103], slots[0, 103:107] = 1, 2
    streams = {
        "ecg": {"values": torch.randn(1, 12, 5000), "index": torch.arange(101)},
        "image": {"values": torch.randn(1, 3, 28, 28), "index": torch.arange(4)},
    }
    return {"input_ids": torch.arange(120)[None] % 64, "slots": slots, "streams": streams}


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model.eval()(**inputs()).logits


@pytest.fixture
def base(tmp_path: Path, letters: PreTrainedTokenizerFast) -> Path:
    """A tiny language model in the transformers layout."""
    torch.manual_seed(1)
    LlamaForCausalLM(LlamaConfig(**TEXT, tie_word_embeddings=True)).save_pretrained(tmp_path / "base")
    letters.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def whole_model() -> LlavaEcgForCausalLM:
    torch.manual_seed(2)
    return LlavaEcgForCausalLM(
        LlavaEcgConfig({"model_type": "llama", **TEXT}, STREAM, template="llava_v1", model_max_length=512)
    )


def test_whole_layout(tmp_path: Path, letters: PreTrainedTokenizerFast) -> None:
    model = whole_model()
    save_checkpoint(model, letters, tmp_path / "out")
    again = open_checkpoint(tmp_path / "out")
    assert torch.equal(logits(again.model), logits(model))
    assert again.model.config.streams == model.config.streams
    assert (again.model.config.template, again.model.config.model_max_length) == ("llava_v1", 512)
    assert again.tokenizer.encode("ab") == letters.encode("ab")


def test_sixteen_bits_leave_the_positions_exact(tmp_path: Path, letters: PreTrainedTokenizerFast) -> None:
    save_checkpoint(whole_model(), letters, tmp_path / "out")
    model = open_checkpoint(tmp_path / "out", dtype=torch.bfloat16).model
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}
    assert model.language_model.model.rotary_emb.inv_freq.dtype == torch.float32
    exact = logits(open_checkpoint(tmp_path / "out").model)
    assert ((logits(model).float() - exact).norm() / exact.norm()) < 0.02


def test_transformers_opens_it_too(tmp_path: Path, letters: PreTrainedTokenizerFast) -> None:
    model = whole_model()
    save_checkpoint(model, letters, tmp_path / "out")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(theirs), logits(model), atol=0, rtol=0)


def test_over_a_base(tmp_path: Path, base: Path, letters: PreTrainedTokenizerFast) -> None:
    save_tower(EcgCoCaTower(**ECG), "ecg_coca", ECG, {"rate": None}, tmp_path / "tower")
    stream = tower_stream(tmp_path / "tower", through="image")
    assert stream.preparation == {"rate": None}
    model = compose(str(base), STREAM | {"ecg": stream}, template="plain", tower_folders={"ecg": tmp_path / "tower"})
    assert torch.equal(
        model.towers["ecg"].conv1.weight, load_file(tmp_path / "tower" / "model.safetensors")["conv1.weight"]
    )
    assert torch.equal(
        model.language_model.model.layers[1].mlp.up_proj.weight,
        load_file(base / "model.safetensors")["model.layers.1.mlp.up_proj.weight"],
    )
    save_checkpoint(model, letters, tmp_path / "out")
    assert not any(name.startswith("language_model") for name in load_file(tmp_path / "out" / STREAMS))
    assert torch.equal(logits(open_checkpoint(tmp_path / "out").model), logits(model))


def test_our_lora_merge_is_pefts(tmp_path: Path, base: Path, letters: PreTrainedTokenizerFast) -> None:
    peft = pytest.importorskip("peft")
    model = compose(str(base), STREAM, template="plain")
    bare = logits(model)
    lora = peft.LoraConfig(
        r=4, lora_alpha=12, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False
    )
    model.language_model = peft.get_peft_model(model.language_model, lora)
    adapted = logits(model)
    assert not torch.allclose(adapted, bare, atol=1e-3)
    save_checkpoint(model, letters, tmp_path / "out")
    torch.testing.assert_close(logits(open_checkpoint(tmp_path / "out").model), adapted, atol=1e-5, rtol=0)


def test_faults_are_listed(tmp_path: Path, letters: PreTrainedTokenizerFast) -> None:
    save_checkpoint(whole_model(), letters, tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    weights = load_file(path)
    weights["stranger"] = torch.zeros(1)
    weights["projectors.ecg.bias"] = torch.zeros(3)
    del weights["towers.ecg.proj"]
    save_file(weights, path)
    with pytest.raises(InputError) as caught:
        open_checkpoint(tmp_path / "out")
    for fault in (
        "left over stranger",
        "missing towers.ecg.proj",
        "projectors.ecg.bias is 3 in model.safetensors and 16 in the model",
    ):
        assert fault in str(caught.value)
    with pytest.raises(InputError, match="missing .*and [0-9]+ more"):
        save_file({"a": torch.zeros(1)}, path)
        open_checkpoint(tmp_path / "out")


def test_folders_that_are_no_checkpoint(tmp_path: Path, letters: PreTrainedTokenizerFast) -> None:
    with pytest.raises(InputError, match="no such folder.*gem-tiny"):
        find("gem-tyni")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        open_checkpoint(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no config.json"):
        open_checkpoint(tmp_path / "empty")
    save_checkpoint(whole_model(), letters, tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="cut short"):
        open_checkpoint(tmp_path / "out")
    path.unlink()
    with pytest.raises(InputError, match="has no weights"):
        open_checkpoint(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    (tmp_path / "out" / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    with pytest.raises(InputError, match="has a config.json and no weights"):
        open_checkpoint(tmp_path / "out")


def test_an_adapter_without_its_weights(tmp_path: Path, base: Path, letters: PreTrainedTokenizerFast) -> None:
    save_checkpoint(compose(str(base), STREAM, template="plain"), letters, tmp_path / "out")
    (tmp_path / "out" / ADAPTER).mkdir()
    with pytest.raises(InputError, match="adapter_config.json is not there"):
        open_checkpoint(tmp_path / "out")


def test_an_interrupted_save_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "out") as temporary:
        (temporary / "half").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="no setting 'projektor'"):
        StreamConfig.of({"tower": "clip", "projektor": "linear"})
    with pytest.raises(InputError, match="no setting 'depth'; it has seq_length"):
        LlavaEcgForCausalLM(
            LlavaEcgConfig({"model_type": "llama", **TEXT}, {"ecg": StreamConfig("ecg_coca", {"depth": 3})})
        )
    with pytest.raises(InputError, match="unknown tower 'ecg_cocoa'; did you mean ecg_coca"):
        LlavaEcgForCausalLM(LlavaEcgConfig({"model_type": "llama", **TEXT}, {"ecg": StreamConfig("ecg_cocoa")}))


ENDED = """
import os, signal, sys
from pathlib import Path
from llava_ecg.model.saving import whole_folder
with whole_folder(Path(sys.argv[1])) as temporary:
    (temporary / "config.json").write_text("half")
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    import time; time.sleep(5)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_save_that_is_asked_to_end_leaves_nothing(name: str, tmp_path: Path) -> None:
    begin = f"import signal; signal.signal(signal.{name}, signal.SIG_DFL)\n"  # a run under nohup ignores SIGHUP
    ended = subprocess.run([sys.executable, "-c", begin + ENDED, str(tmp_path / "out"), name], check=False)
    assert ended.returncode == 128 + getattr(signal, name)
    assert list(tmp_path.iterdir()) == []


def test_signals_are_as_they_were_after_a_save(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with whole_folder(tmp_path / "out") as temporary:
        (temporary / "config.json").write_text("{}")
    assert signal.getsignal(signal.SIGTERM) is before
