"""transformers' Auto classes open our checkpoints whichever package is imported first, and importing ours stays
light."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest
import torch

import llava_ecg
from llava_ecg import auto
from llava_ecg.checkpoint.places.fetch import base_folder
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.saving import save_checkpoint
from llava_ecg.streams import StreamConfig

ROOT = Path(__file__).resolve().parent.parent
ECG = {"layers": 1, "width": 16, "head_width": 8, "embed_dim": 8}
CLIP = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
TEXT = {
    "vocab_size": 98,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "eos_token_id": 97,
}

# Asks every Auto class for each folder, and holds the model against llava_ecg.load's by its logits.
OPEN = """
import json, torch
from PIL import Image
from llava_ecg.ecg.simulate import simulate
page, recording = Image.new("RGB", (90, 70), "red"), simulate(seed=1)[0]
told = {}
for folder in json.loads(sys.argv[1]):
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    inputs = processor(text=["Rate?", "What is the rhythm?"], ecg=recording, images=page, return_tensors="pt")
    new = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    with torch.no_grad():
        same = torch.equal(model(**inputs).logits, llava_ecg.load(folder, device="cpu").model(**inputs).logits)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("Rate 72").input_ids == processor.tokenizer("Rate 72").input_ids
    config = AutoConfig.from_pretrained(folder)
    told[folder] = [type(config).__name__, type(model).__name__, type(processor).__name__]
    told[folder] += [list(processor.preparers), same, list(new.shape)]
print(json.dumps(told))
"""
FIRST = {
    "llava_ecg first": "import llava_ecg; from transformers import AutoConfig, AutoModelForCausalLM, "
    "AutoProcessor, AutoTokenizer",
    "transformers first": "from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor, "
    "AutoTokenizer; import llava_ecg",
    # its module brings the Auto classes when it is half executed itself
    "generation first": "import llava_ecg; from transformers import GenerationMixin\n"
    "from transformers import AutoTokenizer, AutoProcessor, AutoConfig, AutoModelForCausalLM",
    "config first": "import llava_ecg.model.config\n"
    "from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor, AutoTokenizer",
}


def run(code: str, *words: str) -> str:
    """What a fresh Python prints; a warning of ours is an error there."""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", f"import sys\n{code}", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, letters: Any) -> Path:
    """A tiny whole checkpoint of ours."""
    torch.manual_seed(4)
    streams = {
        "ecg": StreamConfig("ecg_coca", ECG, "linear", "image"),
        "image": StreamConfig("clip", {"vision_config": CLIP}, "mlp2x_gelu"),
    }
    path = tmp_path_factory.mktemp("auto") / "ours"
    save_checkpoint(LlavaEcgForCausalLM(LlavaEcgConfig({"model_type": "llama", **TEXT}, streams)), letters, path)
    return path


@pytest.mark.parametrize("order", list(FIRST))
def test_any_order_of_imports(order: str, ours: Path) -> None:
    told = json.loads(run(FIRST[order] + OPEN, json.dumps([str(ours)])))
    assert told == {str(ours): ["LlavaEcgConfig", "LlavaEcgForCausalLM", "Processor", ["ecg", "image"], True, [2, 3]]}


def test_released_layouts(tmp_path: Path, shared: Path) -> None:
    from tests.model import released

    golden = shared / "golden"
    both = ["ecg", "image"]
    wanted = {
        released.gem_golden(tmp_path / "gem", golden).folder: both,
        released.gem_qwen(tmp_path / "gem_qwen", golden).folder: both,
        released.pulse(tmp_path / "pulse", golden).folder: ["image"],
        released.llava_16(tmp_path / "llava_16", golden, family="mistral").folder: ["image"],
        released.lora(tmp_path / "lora", golden, tmp_path / "gem").folder: both,
    }
    told = json.loads(run(FIRST["llava_ecg first"] + OPEN, json.dumps(list(map(str, wanted)))))
    assert {folder: (row[1], row[2], *row[4:]) for folder, row in told.items()} == dict.fromkeys(
        map(str, wanted), ("LlavaEcgForCausalLM", "Processor", True, [2, 3])
    )
    assert {folder: row[3] for folder, row in told.items()} == {
        str(folder): streams for folder, streams in wanted.items()
    }


def test_a_model_from_a_config_alone(ours: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(ours, template="llava_v1")
    assert (type(config), config.template) == (LlavaEcgConfig, "llava_v1")
    assert type(AutoModelForCausalLM.from_config(config)) is LlavaEcgForCausalLM
    assert type(AutoConfig.for_model("llava_ecg", text_config=TEXT | {"model_type": "llama"})) is LlavaEcgConfig


def test_a_tokenizer_that_is_its_bases() -> None:
    if base_folder("smollm2-135m-instruct") is None:
        pytest.skip("needs the language model of gem-tiny: llava-ecg fetch gem-tiny")
    from transformers import AutoTokenizer

    base = AutoTokenizer.from_pretrained(base_folder("smollm2-135m-instruct"))
    ours = AutoTokenizer.from_pretrained(ROOT / "checkpoints" / "gem-tiny", padding_side="left")
    assert ours("QTc 431 ms").input_ids == base("QTc 431 ms").input_ids
    assert ours.padding_side == "left"


def test_a_tokenizer_whose_class_is_not_named(tmp_path: Path, ours: Path, letters: Any) -> None:
    from transformers import AutoTokenizer

    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).symlink_to(ours / name)
    assert AutoTokenizer.from_pretrained(tmp_path).get_vocab() == letters.get_vocab()


def test_importing_it_is_light() -> None:
    told = run(
        "import llava_ecg; print(*sorted(sys.modules)); print(*dir(llava_ecg)); print(llava_ecg.__version__)"
    ).splitlines()
    assert not {name.split(".")[0] for name in told[0].split()} & {
        "torch",
        "transformers",
        "numpy",
        "scipy",
        "PIL",
        "safetensors",
    }
    assert not [name for name in told[0].split() if name.startswith("llava_ecg.") and name != "llava_ecg.auto"]
    assert {"load", "Assistant", "Processor", "Case", "Turn", "Decoding"} <= set(told[1].split())
    assert told[2] == llava_ecg.__version__


def test_opening_a_config_brings_no_torch_of_ours(ours: Path) -> None:
    """What a stand-in stands in for is fetched when it is asked for and not before."""
    code = (
        "import llava_ecg\nfrom transformers import "
        f"AutoConfig\nAutoConfig.from_pretrained({str(ours)!r})\nprint(*sys.modules)"
    )
    told = set(run(code).split())
    assert "llava_ecg.model.config" in told
    assert not {"llava_ecg.model.llava", "llava_ecg.processor"} & told


def test_public_names() -> None:
    for name in llava_ecg.__all__:
        assert getattr(llava_ecg, name) is not None
    assert llava_ecg.Turn is importlib.import_module("llava_ecg.data.conversation").Turn
    with pytest.raises(AttributeError, match="module 'llava_ecg' has no attribute 'lod'"):
        llava_ecg.lod  # noqa: B018
    from llava_ecg import files  # a submodule that nobody has imported is still found

    assert files.__name__ == "llava_ecg.files"


# -- the finder --------------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A module ``watched_by_test`` in place of transformers', ``passed_by_test`` beside it; the list grows with each
    registration."""
    (tmp_path / "watched_by_test.py").write_text("value = 1\nseen = __loader__\n")
    (tmp_path / "passed_by_test.py").write_text("value = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    calls: list[str] = []
    monkeypatch.setattr(auto, "WATCHED", ("watched_by_test",))
    monkeypatch.setattr(
        auto,
        "register",
        lambda: calls.append("value" if hasattr(sys.modules["watched_by_test"], "value") else "nothing"),
    )
    yield calls
    for name in ("watched_by_test", "passed_by_test"):
        sys.modules.pop(name, None)


def test_a_watched_module_is_told_of_after_its_execution_and_is_left_as_it_was(watched: list[str]) -> None:
    module = importlib.import_module("watched_by_test")
    assert watched == ["value"]
    assert module.__loader__ is module.__spec__.loader is module.seen  # type: ignore[union-attr]
    assert type(module.__loader__).__module__ != auto.__name__
    assert inspect.getsource(module).startswith("value = 1")
    importlib.reload(module)
    assert watched == ["value"] * 2
    loader = auto._Loader(SourceFileLoader("watched_by_test", str(module.__file__)))
    assert loader.get_source("watched_by_test") == inspect.getsource(
        module
    )  # as whoever looks for a module without importing it asks


def test_other_modules_pass_by(watched: list[str]) -> None:
    assert auto.Finder().find_spec("passed_by_test") is None
    importlib.import_module("passed_by_test")
    assert watched == []


def test_one_finder_whatever_happens() -> None:
    before = [type(finder).__qualname__ for finder in sys.meta_path]
    assert before.count("Finder") == 1
    auto.install()
    threads = [threading.Thread(target=importlib.import_module, args=("llava_ecg",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    importlib.reload(auto)
    auto.install()
    assert [type(finder).__qualname__ for finder in sys.meta_path].count("Finder") == 1
    assert len(sys.meta_path) == len(before)


def test_threads_that_import_both_at_once(ours: Path) -> None:
    code = """
import importlib, threading, transformers  # whose own first import is not made for several threads
faults = []
def load(name):
    try:
        importlib.import_module(name)
    except BaseException as error:
        faults.append(f"{name}: {error!r}")
auto = "transformers.models.auto."
names = ["llava_ecg.model.config", auto + "tokenization_auto", auto + "processing_auto", "llava_ecg"]
threads = [threading.Thread(target=load, args=(name,)) for name in names * 3]
[thread.start() for thread in threads], [thread.join(120) for thread in threads]
assert not faults, faults
assert not any(thread.is_alive() for thread in threads)
from transformers import AutoTokenizer
print(len(AutoTokenizer.from_pretrained(sys.argv[1])))
"""
    assert run(code, str(ours)).strip() == "98"


def test_an_error_of_ours_is_a_warning(watched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise KeyError("changed in transformers 9")

    monkeypatch.setattr(auto, "register", fail)
    with pytest.warns(
        RuntimeWarning, match="could not tell transformers.*KeyError: 'changed in transformers 9'.*llava_ecg.load"
    ):
        module = importlib.import_module("watched_by_test")
    assert module.value == 1


def test_an_error_in_the_module_is_its_own(tmp_path: Path, watched: list[str]) -> None:
    (tmp_path / "watched_by_test.py").write_text("raise ZeroDivisionError('theirs')\n")
    with pytest.raises(ZeroDivisionError, match="theirs"):
        importlib.import_module("watched_by_test")
    assert watched == []
    assert "watched_by_test" not in sys.modules


def test_transformers_tables_can_still_be_pickled() -> None:
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        auto.register()
    again = pickle.loads(pickle.dumps(CONFIG_MAPPING))
    assert again["llava_ecg"] is LlavaEcgConfig
    assert (
        pickle.loads(pickle.dumps(AutoModelForCausalLM._model_mapping))[LlavaEcgConfig].__module__ == "llava_ecg.auto"
    )


def test_transformers_own_llava_stays_its_own(tmp_path: Path) -> None:
    from transformers import (
        CONFIG_MAPPING,
        AutoConfig,
        AutoModelForImageTextToText,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
    )

    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**small, image_size=28, patch_size=14),
        text_config=LlamaConfig(**small, vocab_size=64),
        image_token_index=9,
    )
    model = AutoModelForImageTextToText.from_config(config)
    model.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is LlavaConfig
    assert type(AutoConfig.for_model("llava")) is LlavaConfig
    assert CONFIG_MAPPING["llava"] is LlavaConfig
    assert type(AutoModelForImageTextToText.from_pretrained(tmp_path)) is type(model)


def test_first_releases_open_with_the_class_itself(tmp_path: Path, golden: Path) -> None:
    """They say ``llava``, which is transformers' own."""
    from tests.model import released

    released.clip_vision_folder(tmp_path / "clip", golden)
    for folder in (
        released.llava_15(tmp_path / "llava_15", golden, tmp_path / "clip").folder,
        released.llava_16(tmp_path / "llava_16v", golden, family="vicuna").folder,
    ):
        assert list(LlavaEcgForCausalLM.from_pretrained(folder).config.streams) == ["image"]


def test_a_folder_without_tokenizer_opens_as_a_model(tmp_path: Path, golden: Path) -> None:
    from transformers import AutoModelForCausalLM

    from llava_ecg.errors import InputError
    from tests.model import released

    folder = released.gem(tmp_path / "gem", golden).folder
    for file in folder.glob("*token*"):
        file.unlink()
    assert isinstance(AutoModelForCausalLM.from_pretrained(folder), LlavaEcgForCausalLM)
    with pytest.raises(InputError, match="no tokenizer"):
        llava_ecg.load(folder)


def test_a_subclass_loads_as_itself(ours: Path) -> None:
    class My(LlavaEcgForCausalLM):
        pass

    assert type(My.from_pretrained(ours)) is My
    assert type(LlavaEcgForCausalLM.from_pretrained(ours)) is LlavaEcgForCausalLM


def test_the_keywords_that_people_type(tmp_path: Path, golden: Path) -> None:
    """dtype, device, attention and quantization reach the model; a keyword without meaning here is refused by name."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from llava_ecg.errors import InputError
    from tests.model import released

    folder = released.gem(tmp_path / "gem", golden, dtype=torch.bfloat16).folder

    def opened(**keywords: Any) -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, **keywords)

    assert opened().dtype == opened(torch_dtype="auto").dtype == torch.bfloat16  # as filed, which is transformers' way
    assert opened(dtype=torch.float32, device_map={"": "cpu"}).dtype == torch.float32
    assert opened(torch_dtype=torch.float16, device_map="cpu", low_cpu_mem_usage=True).dtype == torch.float16
    model = opened(attn_implementation="eager")
    assert {model.config._attn_implementation, model.language_model.config._attn_implementation} == {"eager"}
    with pytest.raises(InputError, match="no keyword foo"):
        opened(foo=1)
    with pytest.raises(InputError, match="goes to one device"):
        opened(device_map={"towers": "cpu", "language_model": "meta"})
    pytest.importorskip("bitsandbytes")
    quantised = opened(quantization_config=BitsAndBytesConfig(load_in_8bit=True))
    assert type(quantised.language_model.model.layers[0].mlp.up_proj).__name__ == "Linear8bitLt"
    assert type(quantised.language_model.lm_head) is torch.nn.Linear
    assert {value.dtype for value in quantised.towers.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", ["whole", "tied"])
def test_save_pretrained_and_back(name: str, tmp_path: Path, golden: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoProcessor

    from tests.model import released

    folder = released.gem_qwen(tmp_path / "gem", golden, tied=name == "tied").folder
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "out")
    AutoProcessor.from_pretrained(folder).save_pretrained(tmp_path / "out")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())
