"""Settings of a config that no model can follow are said before weights are read; what a null or a name means is
kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps
from safetensors import safe_open

from llava_ecg.checkpoint import building
from llava_ecg.checkpoint.inspect import inspect
from llava_ecg.cli import main
from llava_ecg.errors import InputError
from llava_ecg.model.convert import convert
from llava_ecg.model.loading import open_checkpoint
from llava_ecg.model.towers.clip import ClipTower
from llava_ecg.processor import Processor
from tests.model import released as write


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def quiet(line: str) -> None:
    pass


# -- hidden layers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [30, -40, "-2", 1e30, 1.0, True, None, [-2, -5]])
@pytest.mark.parametrize("to", ["released", "ours"])
def test_a_hidden_layer_that_the_clip_has_not(
    layer: Any,
    to: str,
    golden: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    if to == "ours":
        convert(folder, tmp_path / "ours", "ours", progress=quiet)
        folder = tmp_path / "ours"
        values = json.loads((folder / "config.json").read_text())
        values["streams"]["image"]["tower_config"]["select_layer"] = layer
        edit(folder / "config.json", streams=values["streams"])
    else:
        edit(folder / "config.json", mm_vision_select_layer=layer)
    monkeypatch.setattr(building.weights, "stream", lambda *_, **__: pytest.fail("weights were read"))
    with pytest.raises(InputError, match=r"the hidden state .* of the image tower is asked for .* and it has \d+: "):
        open_checkpoint(folder)
    assert main(["inspect", str(folder)]) == 2
    assert "the hidden state" in capsys.readouterr().err


def test_every_hidden_layer_that_there_is_can_be_taken() -> None:
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 4,
    }
    given = torch.zeros(1, 3, 8, 8)
    for layer in range(-3, 3):
        assert ClipTower(vision, select_layer=layer)(given).shape == (1, 4, 16)
    for layer in (-4, 3):
        with pytest.raises(InputError, match="and it has 3: -3 to 2"):
            ClipTower(vision, select_layer=layer)


def test_the_layers_of_a_tower_that_is_not_here_are_not_guessed(golden: Path, tmp_path: Path) -> None:
    folder = write.llava_15(tmp_path / "x", golden, "clip-that-is-nowhere").folder
    edit(folder / "config.json", mm_vision_select_layer=-20)
    assert "image" in inspect(folder).absent


# -- the page ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aspect", ["anyres_max_9", "highres", "crop_split", "Pad", 3, ["pad"]])
def test_an_aspect_that_is_not_known(
    aspect: Any, golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write.pulse(tmp_path / "x", golden).folder
    edit(folder / "config.json", image_aspect_ratio=aspect)
    [image] = inspect(folder).streams.values()
    assert any(
        "can't be prepared with the aspect" in warning and "--prepare image.aspect=anyres" in warning
        for warning in image.warnings
    ) == ("anyres" in str(aspect))
    assert any("can't be prepared with the aspect" in warning for warning in image.warnings)
    convert(folder, tmp_path / "back", "llava", progress=quiet)
    assert json.loads((tmp_path / "back" / "config.json").read_text())["image_aspect_ratio"] == aspect
    chosen = "anyres" if "anyres" in str(aspect) else "pad"
    assert (
        open_checkpoint(folder, preparation={"image": {"aspect": chosen}}).model.preparers()["image"].aspect == chosen
    )
    monkeypatch.setattr(building.weights, "stream", lambda *_, **__: pytest.fail("weights were read"))
    with pytest.raises(InputError, match=r"can't be prepared with aspect .*--prepare image\.aspect="):
        open_checkpoint(folder)


@pytest.mark.parametrize("aspect", [None, "square", "ori"])
def test_the_aspects_that_are_cropped(aspect: str | None, golden: Path, tmp_path: Path) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    edit(folder / "config.json", image_aspect_ratio=aspect)
    assert open_checkpoint(folder).model.preparers()["image"].aspect == "ori"


def page(kind: str) -> Image.Image:
    drawn = Image.linear_gradient("L").resize((200, 140))
    drawn.paste(0, (20, 20, 90, 40))
    if kind == "16 bits":
        return drawn.convert("I").point(lambda value: value * 256).convert("I;16")
    if kind == "turned":
        turned = drawn.convert("RGB")
        turned.getexif()[0x0112] = 6
        return turned
    if kind == "palette":
        return drawn.convert("P")
    alpha = Image.new("L", drawn.size, 0)
    alpha.paste(255, (20, 20, 90, 40))
    image = (drawn if kind == "LA" else drawn.convert("RGB")).copy()
    image.putalpha(alpha)
    return image


@pytest.mark.parametrize("kind", ["transparent", "LA", "16 bits", "turned", "palette"])
def test_a_page_that_someone_has_opened_is_prepared_as_its_file(kind: str, golden: Path, tmp_path: Path) -> None:
    processor = Processor.from_pretrained(write.gem(tmp_path / "x", golden).folder)
    path = tmp_path / "page.png"
    page(kind).save(path, exif=page(kind).getexif())
    by_path, by_object = (
        processor("Rhythm?", images=given)["streams"]["image"]["values"] for given in (path, Image.open(path))
    )
    assert torch.equal(by_path, by_object)
    if kind == "turned":
        assert ImageOps.exif_transpose(Image.open(path)).size == (140, 200)


def test_an_opened_page_that_is_damaged_or_closed(golden: Path, tmp_path: Path) -> None:
    processor = Processor.from_pretrained(write.gem(tmp_path / "x", golden).folder)
    page("palette").convert("RGB").save(tmp_path / "page.png")
    whole = (tmp_path / "page.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with Image.open(tmp_path / "page.png") as closed:
        pass
    for image in (Image.open(tmp_path / "cut.png"), closed):
        with pytest.raises(InputError, match="the image can't be read"):
            processor("Rhythm?", images=image)


# -- towers that are only named ----------------------------------------------------------------------------------------


def only_named(tmp_path: Path, golden: Path, clip: str | Path) -> Path:
    """A GEM whose towers lie elsewhere: the encoder in ``coca.pt``, the CLIP in `clip`."""
    base = write.language_model(tmp_path / "base", golden)
    write.ecg_coca_pt(tmp_path / "coca.pt", golden)
    shutil.copyfile(golden / "ecg_tower_config.json", tmp_path / "coca.json")
    projectors = write.projectors(
        tmp_path / "p", golden, base.folder, vision_tower=clip, ecg_tower=tmp_path / "coca.pt"
    )
    folder = tmp_path / "gem"
    folder.mkdir()
    state = base.state | projectors.state
    write.write_weights(folder, state, "safetensors", 1)
    config = json.loads((tmp_path / "p" / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config))
    write.write_tokenizer(folder, golden, "llama")
    return folder


@pytest.mark.parametrize("given", [True, False])
def test_a_named_ecg_tower_is_written(given: bool, golden: Path, tmp_path: Path) -> None:
    clip = write.clip_folder(tmp_path / "clip", golden).folder
    folder = only_named(tmp_path, golden, clip)
    told: list[str] = []
    tower = {"ecg_tower": tmp_path / "coca.pt"} if given else {}
    convert(folder, tmp_path / "out", "llava", progress=told.append, **tower)
    (tmp_path / "coca.pt").rename(tmp_path / "moved.pt")
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        names = list(file.keys())
    assert sum("ecg_tower" in name for name in names) > 10 and not any("vision_tower" in name for name in names)
    assert any("the image tower is not written, only named" in line and str(clip) in line for line in told)
    assert open_checkpoint(tmp_path / "out").model.towers.keys() == {"ecg", "image"}
    assert "the image tower" not in " ".join(quietly_converted(folder, tmp_path, clip))


def quietly_converted(folder: Path, tmp_path: Path, clip: Path) -> list[str]:
    told: list[str] = []
    (tmp_path / "moved.pt").rename(tmp_path / "coca.pt")
    convert(folder, tmp_path / "whole", "llava", vision_tower=clip, progress=told.append)
    assert open_checkpoint(tmp_path / "whole").model.config.origin["outside"] == []
    return told


def test_a_clip_that_only_its_folder_knows_is_written(golden: Path, tmp_path: Path) -> None:
    folder = only_named(tmp_path, golden, "clip_beside")
    write.clip_folder(folder / "clip_beside", golden)
    convert(folder, tmp_path / "out", "llava", progress=quiet)
    shutil.rmtree(folder)
    (tmp_path / "coca.pt").unlink()
    assert open_checkpoint(tmp_path / "out").model.config.origin["outside"] == []


# -- null --------------------------------------------------------------------------------------------------------------


def test_a_null_window_stays_null(golden: Path, tmp_path: Path) -> None:
    """Mistral 7B v0.2 has none; transformers' default of 4,096 would cut what the model sees."""
    folder = write.llava_16(tmp_path / "x", golden, family="mistral").folder
    edit(folder / "config.json", sliding_window=None, bos_token_id=None)
    convert(folder, tmp_path / "ours", "ours", progress=quiet)
    convert(tmp_path / "ours", tmp_path / "back", "llava", progress=quiet)
    for each in (folder, tmp_path / "ours", tmp_path / "back"):
        text = open_checkpoint(each).model.config.text_config
        assert (text.sliding_window, text.bos_token_id) == (None, None), each
    edit(folder / "config.json", sliding_window=7)
    assert open_checkpoint(folder).model.config.text_config.sliding_window == 7
