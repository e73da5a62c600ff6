"""The tasks through inspect_ai with a scripted assistant: one command, the log, resuming, faults, and other providers.

Skipped where the extra ``eval`` is not installed, but for what a person is told then.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg import plugins
from llava_ecg.cli import main
from llava_ecg.errors import InputError

Run = Callable[..., tuple[int, str, str]]


class Scripted:
    """Answers a question about the ECG in row r of the table with the text at r, or of a single text with that, and
    remembers what it was asked. Questions come in any order."""

    def __init__(self, texts: Sequence[str], superclasses: Sequence[str] = ()) -> None:
        self.texts, self.superclasses = texts, superclasses or texts
        self.opened: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[tuple[str, Any, Any]] = []

    def open(self, model: str, **more: Any) -> Scripted:
        self.opened.append((model, more))
        return self

    def ask(self, turns: Any, case: Any, decoding: Any) -> Any:
        from llava_ecg.assistant import Answer

        self.asked.append((turns[-1].text, case, decoding))
        texts = self.superclasses if "superclasses" in turns[-1].text else self.texts
        text = texts[int(case.recording.source.rpartition("[")[2].rstrip("]")) % len(texts)]
        tokens, seconds = {"prompt": 7, "new": 2}, {"prepare": 0.0, "first_token": 0.0, "total": 0.5}
        return Answer(text, "scripted", tokens, seconds, "stop", notes=("a note",))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three superclass questions (NORM; MI, STTC; NORM) and two of ECG-QA (yes; no)."""
    folder = tmp_path / "data"
    for name in ("ptbxl", "ecgqa"):
        (folder / name).mkdir(parents=True)
    np.save(folder / "ptbxl/signals_250hz_int16.npy", np.full((3, 12, 2500), 100, dtype=np.int16))
    rows = ["row,ecg_id,patient_id,strat_fold,super_class,rhythm"]
    rows += ["0,10,1,9,NORM,SR", "1,11,2,9,MI|STTC,AFIB", "2,12,3,9,NORM,SR"]
    (folder / "ptbxl/labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    told = {"question": "Is there noise?", "attribute": ["noise"], "template_id": 1, "question_type": "single-verify"}
    questions = [told | {"ecg_id": [10], "answer": ["yes"]}, told | {"ecg_id": [11], "answer": ["no"]}]
    (folder / "ecgqa/questions.json").write_text(json.dumps(questions), encoding="utf-8")
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path) -> Run:
    """``llava-ecg eval`` on the data, and what it says."""

    def run(*words: str, assistant: Scripted | None = None, out: str = "run") -> tuple[int, str, str]:
        given = ["eval", "--data", str(data), "--out", str(tmp_path / out), *words]
        code = main(given, open_assistant=None if assistant is None else assistant.open)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


needed = pytest.mark.skipif(
    importlib.util.find_spec("inspect_ai") is None, reason="inspect_ai is not installed; the extra eval brings it"
)


def test_without_inspect_ai_one_sentence_says_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("llava_ecg.cli.evaluate.find_spec", lambda name: None if name == "inspect_ai" else real(name))
    code, out, err = run("--tasks", "ecgqa")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and 'pip install "llava-ecg[eval]"' in err


def test_list_needs_neither_model_nor_harness(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    assert main(["eval", "--list"]) == 0
    assert "ecgqa  ECG-QA" in capsys.readouterr().out
    assert main(["eval", "--list", "--json", "--tasks", "ptbxl_super"]) == 0
    [row] = json.loads(capsys.readouterr().out)["tasks"]
    assert row["published"]["PULSE"]["f1"] == 74.8


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--tasks", "ecgqa", "--data", "x"], "--out is needed"),
        (["--tasks", "ecgqa", "--out", "x"], "--data is needed"),
        (["--data", "x", "--out", "x"], "--tasks is needed"),
        (["--data", "x", "--out", "x", "--tasks", "ecg_qa"], "did you mean ecgqa"),
    ],
)
def test_what_is_missing_is_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", *words]) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1


@needed
def test_one_command_asks_scores_and_logs(run: Run, tmp_path: Path) -> None:
    assistant = Scripted(["Yes.", "Yes, there is"], ["NORM", "MI", "I can't tell"])
    code, out, err = run("--tasks", "ecgqa,ptbxl_super", "--json", assistant=assistant)
    assert code == 0, err
    first, second = json.loads(out)["tasks"]
    assert first["scores"]["figures"]["accuracy"]["value"] == 0.5
    assert first["scores"]["chance"] == first["scores"]["majority"] == {"accuracy": 0.5}
    assert second["scores"]["unparsed"] == 1
    # wrong of 15 labels: STTC of the second, all 5 of the third
    assert second["scores"]["figures"]["hamming_loss"]["value"] == pytest.approx(6 / 15)
    assert second["legacy"]["hamming_loss"] == pytest.approx(2 / 9)
    question, case, decoding = min(assistant.asked, key=lambda each: each[0])
    assert question == "Is there noise? Options: yes, no"
    assert case.recording.signal.shape == (12, 2500)
    assert decoding.temperature == 0 and decoding.max_new_tokens == 256

    from inspect_ai.log import read_eval_log

    log = read_eval_log(first["log"])
    assert log.results is not None and log.samples is not None
    found = {each.name: {name: one.value for name, one in each.metrics.items()} for each in log.results.scores}
    assert found["fixed"]["accuracy"] == found["fixed"]["accuracy_chance"] == 0.5
    assert found["fixed"]["unparsed"] == 0
    assert found["legacy"]["accuracy"] == 0.5
    assert log.samples[0].output.metadata["notes"] == ["a note"]
    assert log.samples[0].output.usage.input_tokens == 7


@needed
def test_the_table_has_chance_majority_and_what_is_published(run: Run) -> None:
    code, out, _ = run("--tasks", "ecgqa", "--limit", "1", assistant=Scripted(["Yes."]))
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["gem-tiny", "100.0", "[100.0,", "100.0]"] in lines
    assert ["chance", "50.0"] in lines and ["majority", "100.0"] in lines
    assert ["PULSE,", "published", "73.8"] in lines


@needed
def test_what_is_typed_reaches_the_model(run: Run) -> None:
    assistant = Scripted(["Yes."])
    words = ["--temperature", "0.5", "--top-p", "0.9", "--top-k", "3", "--seed", "4", "--max-new-tokens", "9"]
    more = ["--repetition-penalty", "1.5", "--device", "cpu", "--dtype", "float32", "--template", "v1"]
    code, _, err = run("--tasks", "ecgqa", "--model", "mine", *words, *more, assistant=assistant)
    assert code == 0, err
    assert assistant.opened == [("mine", {"device": "cpu", "dtype": "float32", "template": "v1"})]
    decoding = assistant.asked[0][2]
    assert (decoding.temperature, decoding.top_p, decoding.top_k, decoding.seed) == (0.5, 0.9, 3, 4)
    assert (decoding.max_new_tokens, decoding.repetition_penalty) == (9, 1.5)


@needed
def test_nothing_is_asked_twice(run: Run) -> None:
    assistant = Scripted(["Yes."])
    assert run("--tasks", "ptbxl_super", "--limit", "2", assistant=assistant)[0] == 0
    assert len(assistant.asked) == 2
    assert run("--tasks", "ptbxl_super", "--limit", "2", assistant=assistant)[0] == 0
    assert len(assistant.asked) == 2
    assert run("--tasks", "ptbxl_super", assistant=assistant)[0] == 0
    assert len(assistant.asked) == 3


@needed
def test_a_run_of_another_model_is_no_place_for_this_one(run: Run) -> None:
    assert run("--tasks", "ecgqa", "--model", "one", assistant=Scripted(["Yes."]))[0] == 0
    code, out, err = run("--tasks", "ecgqa", "--model", "two", assistant=Scripted(["Yes."]))
    assert (code, out) == (2, "")
    assert "answers of llava_ecg/one to ecgqa" in err and "asks llava_ecg/two" in err and err.count("\n") == 1


@needed
def test_a_question_whose_record_is_missing_fails_alone(run: Run, data: Path) -> None:
    np.save(data / "ptbxl/signals_250hz_int16.npy", np.full((2, 12, 2500), 100, dtype=np.int16))
    code, out, _ = run("--tasks", "ptbxl_super", "--json", assistant=Scripted(["NORM", "MI, STTC"]))
    [task] = json.loads(out)["tasks"]
    assert code == 1
    assert (task["questions"], task["failed"], task["scores"]["count"]) == (3, 1, 2)
    assert task["scores"]["figures"]["f1"]["value"] == 1
    code, out, _ = run("--tasks", "ptbxl_super", assistant=Scripted(["NORM"]), out="again")
    assert code == 1
    assert "without an answer: 1 of 3, the first because" in out and "no row 2" in out


@needed
def test_a_model_that_is_none_is_one_mistake(run: Run) -> None:
    code, out, err = run("--tasks", "ecgqa", "--model", "no-such-model")
    assert (code, out) == (2, "")
    assert "no-such-model" in err and err.count("\n") == 1


@needed
def test_a_task_that_was_plugged_in_after_the_harness_was_imported(run: Run) -> None:
    from dataclasses import replace

    from llava_ecg.eval import harness
    from llava_ecg.eval.tasks import ecgqa

    assert "ecgqa" in harness.TASKS
    plugins.tasks.add("mine", replace(ecgqa, name="mine"))
    try:
        assert run("--tasks", "mine", assistant=Scripted(["Yes."]))[0] == 0
    finally:
        plugins.tasks.remove("mine")


@needed
def test_a_model_of_another_provider_sees_the_page(data: Path, tmp_path: Path) -> None:
    from inspect_ai.log import read_eval_log
    from inspect_ai.model import ModelOutput, ModelUsage

    from llava_ecg.eval.runs import run
    from llava_ecg.eval.tasks import chosen

    seen: list[Any] = []

    def answers(input: Any, tools: Any, tool_choice: Any, config: Any) -> ModelOutput:
        seen.append(input[-1])
        output = ModelOutput.from_content("mock", "Yes.")
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)  # else it fetches a tokenizer
        return output

    [found] = run(
        chosen("ecgqa"),
        "mockllm/model",
        data,
        tmp_path / "peer",
        model_args={"custom_outputs": answers},
        config={"max_connections": 1},
    )
    assert found.scores is not None and found.scores.figures["accuracy"].value == 0.5
    page, text = seen[0].content
    assert page.image.startswith("data:image/png;base64,")
    assert text.text == "Is there noise? Options: yes, no"
    assert read_eval_log(found.log).eval.model == "mockllm/model"


BY_NAME = """
import sys
from pathlib import Path
from inspect_ai import eval as evaluate
from inspect_ai.model import get_model
from llava_ecg.eval import harness, runs
from llava_ecg.eval.tasks import chosen
sys.path.append(sys.argv[2])
from test_harness import Scripted

data, assistant = sys.argv[1], Scripted(["Yes."])
model = get_model("llava_ecg/mine", memoize=False, opener=assistant.open)
[log] = evaluate("llava_ecg/ecgqa", model=model, task_args={"data": data}, display="none", log_dir="logs")
print(log.status, log.eval.task, log.eval.model)
[found] = runs.run(chosen("ecgqa"), "llava_ecg/mine", Path(data), Path("run"), model_args={"opener": assistant.open})
print(found.scores.figures["accuracy"].value)
"""


@needed
def test_the_task_and_the_provider_go_by_the_names_of_inspect_ai(data: Path, tmp_path: Path) -> None:
    """In a folder of its own, since inspect_ai takes names from how the package is installed, and finds none in the
    folder that holds the clone."""
    told = [sys.executable, "-c", BY_NAME, str(data), str(Path(__file__).parent)]
    done = subprocess.run(told, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-2:] == ["success llava_ecg/ecgqa llava_ecg/mine", "0.5"]


KILLED = """
import os, signal, sys, time
from pathlib import Path
from llava_ecg.eval import harness, runs
from llava_ecg.eval.tasks import chosen
sys.path.append(sys.argv[2])
from test_harness import Scripted

class Mortal(Scripted):
    def ask(self, turns, case, decoding):
        with open("asked.txt", "a") as out:
            out.write(case.recording.source[-2] + "\\n")
        if len(Path("asked.txt").read_text().split()) == 3:
            time.sleep(2)  # as an answer takes; those before it are in the log meanwhile
            os.kill(os.getpid(), signal.SIGKILL)
        return super().ask(turns, case, decoding)

data, opener = Path(sys.argv[1]), Mortal(["NORM", "MI, STTC", "NORM"]).open
[found] = runs.run(chosen("ptbxl_super"), "llava_ecg/mine", data, Path("run"), model_args={"opener": opener})
print(found.questions, found.scores.count, found.scores.figures["f1"].value)
"""


@needed
def test_a_killed_run_goes_on_and_loses_nothing(data: Path, tmp_path: Path) -> None:
    """The third question kills the process, as kill -9 does; the same command asks that one again and no other."""
    told = [sys.executable, "-c", KILLED, str(data), str(Path(__file__).parent)]
    first = subprocess.run(told, cwd=tmp_path, capture_output=True, text=True)
    assert first.returncode == -signal.SIGKILL, first.stderr[-2000:]
    again = subprocess.run(told, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr[-2000:]
    assert again.stdout.split()[-3:] == ["3", "3", "1.0"]
    asked = (tmp_path / "asked.txt").read_text().split()
    assert sorted(set(asked)) == ["0", "1", "2"]
    assert len(asked) == 4 and asked[3] == asked[2]


@needed
def test_a_log_is_scored_again_without_model_or_data(run: Run, data: Path) -> None:
    from inspect_ai import score
    from inspect_ai.log import read_eval_log

    from llava_ecg.eval.harness import fixed

    _, out, _ = run("--tasks", "ecgqa", "--json", assistant=Scripted(["Yes."]))
    log = read_eval_log(json.loads(out)["tasks"][0]["log"])
    for path in data.rglob("*.*"):
        path.unlink()
    again = score(log, fixed(), action="overwrite", display="none")
    assert again.results is not None
    assert again.results.scores[0].metrics["accuracy"].value == 0.5


@pytest.fixture
def provider() -> Iterator[Any]:
    pytest.importorskip("inspect_ai", reason="the extra eval brings it")
    yield importlib.import_module("llava_ecg.eval.provider")


@pytest.mark.parametrize("setting", [{"stop_seqs": ["x"]}, {"num_choices": 2}, {"frequency_penalty": 1.0}])
def test_a_setting_that_can_not_be_followed_is_refused(provider: Any, setting: dict[str, Any]) -> None:
    from inspect_ai.model import GenerateConfig

    with pytest.raises(InputError, match=f"can't follow {next(iter(setting))}"):
        provider.decoding_of(GenerateConfig(**setting))
    assert provider.decoding_of(GenerateConfig(max_tokens=5, max_retries=1)).max_new_tokens == 5


def test_messages_become_turns_or_are_refused(provider: Any, data: Path) -> None:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, ContentData, ContentText

    from llava_ecg.eval.tasks import ecgqa

    block = ContentData(data=dict(ecgqa.items(data)[0].sources[0]))
    first = ChatMessageUser(content=[block, ContentText(text="One?")])
    turns, about = provider.conversation([first, ChatMessageAssistant(content="Yes."), ChatMessageUser(content="Two?")])
    assert [(turn.role, turn.text) for turn in turns] == [("user", "One?"), ("assistant", "Yes."), ("user", "Two?")]
    assert about.recording is not None and about.image is None
    _, seen = provider.conversation([provider.shown(first)])
    assert seen.recording is None and seen.image.size == about.page.size
    with pytest.raises(InputError, match="a message of the system"):
        provider.conversation([ChatMessageSystem(content="Be brief."), first])
    with pytest.raises(InputError, match="no ECG and no image"):
        provider.conversation([ChatMessageUser(content="One?")])
    both = ChatMessageUser(content=[*first.content, *provider.shown(first).content])
    with pytest.raises(InputError, match="takes no further images"):
        provider.conversation([both])


@pytest.mark.parametrize("image", ["http://host/a.png", "data:image/png;base64,AAAA", "data:image/png;base64,*"])
def test_images_that_are_none(provider: Any, image: str) -> None:
    from inspect_ai.model import ChatMessageUser, ContentImage

    with pytest.raises(InputError, match="data URI|can't be read"):
        provider.conversation([ChatMessageUser(content=[ContentImage(image=image)])])
