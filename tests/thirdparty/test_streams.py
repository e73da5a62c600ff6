"""Streams in any number and under any name, of which no line of shared code knows: two signals at once, a signal alone,
two ECGs in one question."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from llava_ecg.assistant import Assistant
from llava_ecg.case import Case, Decoding
from llava_ecg.cli import main as command
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.formats import read
from llava_ecg.ecg.simulate import simulate
from llava_ecg.errors import InputError
from llava_ecg.model.saving import save_tower
from llava_ecg.model.towers.ecg_coca import EcgCoCaTower
from llava_ecg.train.run import main as train

COCA = {"layers": 1, "width": 16, "head_width": 8, "embed_dim": 8}
RHYTHM = {"samples": 600, "patch": 50, "width": 16}
QUIET = ["--use_cpu", "--report_to", "none", "--disable_tqdm", "true", "--save_strategy", "no"]
SHORT = ["--model_max_length", "1024", "--max_steps", "1", "--per_device_train_batch_size", "2", *QUIET]
SAID = [{"from": "human", "value": "What is it?"}, {"from": "gpt", "value": "Sinus."}]


@pytest.fixture(scope="module")
def parts(plugged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both towers, two twelve-lead ECGs and two strips, in folders."""
    from llava_ecg_example.reader import write_strip
    from llava_ecg_example.rhythm import RhythmTower

    torch.manual_seed(2)
    out = tmp_path_factory.mktemp("parts")
    save_tower(EcgCoCaTower(**COCA), "ecg_coca", COCA, {"leads": "standard", "rate": 500}, out / "coca")
    save_tower(RhythmTower(**RHYTHM), "rhythm", RHYTHM, {"rate": 100.0, "lead": "II"}, out / "rhythm")
    for folder, leads in (("ecgs", None), ("strips", ("II",))):
        (out / folder).mkdir()
        for number in range(2):
            recording = simulate(seed=number, rate=250)[0]
            write_strip(out / folder / f"{number}.strip", recording, leads or recording.leads)
    return out


@pytest.fixture(scope="module")
def both(parts: Path, base: Path) -> Path:
    """A model with two signal streams, after a step on records with both, with one, and with two of one."""
    records = [
        {"id": "both", "ecg": "0.strip", "rhythm": "0.strip", "conversations": SAID},
        {"id": "one", "rhythm": "1.strip", "conversations": SAID},
        {
            "id": "two",
            "ecg": ["0.strip", "1.strip"],
            "rhythm": [None, "1.strip"],
            "conversations": [{"from": "human", "value": "<image>\n<image>\nWhat has changed?"}, SAID[1]],
        },
    ]
    (parts / "records.json").write_text(json.dumps(records))
    assert train(flags(parts, base, "records.json", parts / "both")) == 0
    return parts / "both"


def flags(parts: Path, base: Path, records: str, out: Path, *more: str) -> list[str]:
    words = ["--model_name_or_path", str(base), "--ecg_tower", str(parts / "coca")]
    words += ["--towers", f"rhythm={parts / 'rhythm'}", "--data_path", str(parts / records)]
    words += ["--ecg_folder", str(parts / "ecgs"), "--input_folders", f"rhythm={parts / 'strips'}"]
    return [*words, "--output_dir", str(out), *SHORT, *more]


def prompt(assistant: Assistant, case: Case) -> dict[str, Any]:
    return assistant.ask([Turn("user", "What is it?")], case, Decoding(max_new_tokens=2)).tokens


def test_two_signal_streams_are_asked_about_at_once(both: Path, parts: Path) -> None:
    assistant = Assistant.open(both, device="cpu", dtype="float32")
    ecg, strip = read(parts / "ecgs/0.strip"), read(parts / "strips/0.strip")
    assert assistant.streams == ("ecg", "rhythm")
    tokens = prompt(assistant, Case(ecg, inputs={"rhythm": strip}))
    assert (tokens["ecg"], tokens["rhythm"]) == (101, 12)
    assert prompt(assistant, Case(ecg))["rhythm"] == 0
    assert prompt(assistant, Case(inputs={"rhythm": strip}))["ecg"] == 0
    with pytest.raises(InputError, match="place of its own for 'ecg'"):
        Case(inputs={"ecg": ecg})


def test_a_question_about_two(both: Path, parts: Path) -> None:
    assistant = Assistant.open(both, device="cpu", dtype="float32")
    first, second = (read(parts / f"ecgs/{number}.strip") for number in range(2))
    strips = [read(parts / f"strips/{number}.strip") for number in range(2)]
    more = (Case(second, inputs={"rhythm": strips[1]}),)
    tokens = prompt(assistant, Case(first, inputs={"rhythm": strips[0]}, more=more))
    assert (tokens["ecg"], tokens["rhythm"]) == (202, 24)


def test_each_source_reaches_its_own_tower(both: Path, parts: Path) -> None:
    """The embeddings at the places of one stream follow from its own source alone."""
    assistant = Assistant.open(both, device="cpu", dtype="float32")
    ecg = read(parts / "ecgs/0.strip")
    found = []
    for number in range(2):
        case = Case(ecg, inputs={"rhythm": read(parts / f"strips/{number}.strip")})
        sample, _ = assistant.processor.encode([Turn("user", "What?")], case.sources())
        batch = assistant._batch(sample)
        with torch.no_grad():
            found.append((assistant.checkpoint.model.embed(**_embedded(batch))[0], sample.slots))
    (one, slots), (other, _) = found
    assert torch.equal(one[slots == 1], other[slots == 1])
    assert not torch.allclose(one[slots == 2], other[slots == 2])


def _embedded(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: batch[name] for name in ("input_ids", "slots", "streams")}


def test_a_model_with_one_signal_alone_under_the_usual_name(
    parts: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tower of another shape as the stream ``ecg``: all commands take it as they take the released one."""
    words = ["--model_name_or_path", str(base), "--ecg_tower", str(parts / "rhythm"), "--ecg_folder"]
    words += [str(parts / "ecgs"), "--data_path", str(parts / "ecgs.json"), "--output_dir", str(parts / "alone")]
    records = [{"id": number, "ecg": f"{number}.strip", "conversations": SAID} for number in range(2)]
    (parts / "ecgs.json").write_text(json.dumps(records))
    assert train([*words, "--version", "terse", *SHORT]) == 0
    first, second = (str(parts / f"ecgs/{number}.strip") for number in range(2))
    asking = ["ask", "--model", str(parts / "alone"), "--max-new-tokens", "2", "--json", "--device", "cpu"]
    capsys.readouterr()
    for given, count in ((["--ecg", first], 12), (["--ecg", first, "--ecg", second], 24)):
        assert command([*asking, *given, "Rate?"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["tokens"]["ecg"] == count


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--input_folders", "strip=x"], "no stream 'strip'; its streams are ecg, rhythm"),
        (["--unfreeze_towers", "strip"], "no stream 'strip'; its streams are ecg, rhythm"),
        (["--unfreeze_towers", "ecg"], "the stream 'ecg' has --unfreeze_ecg_tower"),
        (["--projectors", "strip=linear"], "--projectors names 'strip', which --towers does not"),
        (["--towers", "rhythm"], "--towers takes NAME=VALUE"),
        (["--towers", "image=x"], "the stream 'image' has --vision_tower"),
        (["--towers", "a=x", "a=y"], "--towers names the stream 'a' twice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_name_a_stream_wrongly(
    more: list[str], said: str, parts: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], both: Path
) -> None:
    assert train(flags(parts, base, "records.json", tmp_path / "out", *more)) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_checkpoint_has_its_streams(
    both: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(flags(parts, both, "records.json", tmp_path / "out")) == 2
    assert "--towers is for a new model" in capsys.readouterr().err


def test_what_is_wrong_with_a_file_of_its_stream(
    both: Path, parts: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "bad.strip").write_text("#STRIP 125 V1\n" + "0\n900\n0\n" * 200)
    names = {"gone": "gone.strip", "lead": "bad.strip", "sound": str(parts / "strips/0.strip")}
    records = [{"id": name, "rhythm": str(tmp_path / file), "conversations": SAID} for name, file in names.items()]
    (tmp_path / "records.json").write_text(json.dumps(records))
    assert command(["validate", str(tmp_path / "records.json"), "--model", str(both), "--json"]) == 1
    problems = json.loads(capsys.readouterr().out)["problems"]
    assert [(each["id"], each["kind"]) for each in problems] == [("gone", "missing"), ("lead", "preparation")]
    assert "has no lead II; it has V1" in problems[1]["text"]


def test_a_mixture_names_the_folder_of_its_stream(both: Path, parts: Path) -> None:
    from llava_ecg.data.dataset import load_conversations

    records = [{"id": "a", "rhythm": "0.strip", "conversations": SAID}]
    (parts / "strips.json").write_text(json.dumps(records))
    (parts / "data.yaml").write_text("sets:\n  - path: strips.json\n    rhythm_folder: strips\n")
    [found] = load_conversations(parts / "data.yaml", streams=("ecg", "image", "rhythm"))
    assert found.sources == {"rhythm": (str(parts / "strips/0.strip"),)}
    with pytest.raises(InputError, match="unknown setting 'rhythm_folder'"):
        load_conversations(parts / "data.yaml")


def test_prepared_inputs_are_made_anew_where_the_package_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llava_ecg.data.prepared_cache import settings_of

    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "changing_preparer.py"
    module.write_text("class Changing:\n    pass\n")
    made = {"rhythm": importlib.import_module("changing_preparer").Changing()}
    before = settings_of(made)
    assert settings_of(made) == before
    module.write_text("class Changing:\n    other = 1\n")
    assert settings_of(made) != before
