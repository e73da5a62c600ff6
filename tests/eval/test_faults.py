"""What goes wrong: hanging judges, missing records, answers of another task or model, and runs that go on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("inspect_ai", reason="the extra eval brings it")

from inspect_ai.log import list_eval_logs, read_eval_log

from llava_ecg.cli import main
from llava_ecg.errors import InputError
from llava_ecg.eval import runs
from llava_ecg.eval.tasks import chosen
from tests.eval.bench import question
from tests.eval.test_bench import Answers, judge, points

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three superclass questions on noise, and four about images alone."""
    folder = tmp_path / "data"
    (folder / "ptbxl").mkdir(parents=True)
    np.save(folder / "ptbxl/signals_250hz_int16.npy", np.full((3, 12, 2500), 100, dtype=np.int16))
    rows = ["row,ecg_id,patient_id,strat_fold,super_class,rhythm"]
    rows += ["0,10,1,9,NORM,SR", "1,11,2,9,MI|STTC,AFIB", "2,12,3,9,NORM,SR"]
    (folder / "ptbxl/labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "ecgbench/images").mkdir(parents=True)
    from PIL import Image

    Image.new("RGB", (60, 40), "white").save(folder / "ecgbench/images/a.png")
    files = {
        "ptb-test": [question("s0", "a.png", "Labels?", "NORM"), question("s1", "a.png", "Labels?", "MI")],
        "cpsc-test": [question("p0", "a.png", "Labels?", "AF"), question("p1", "a.png", "Labels?", "STD")],
        "ptb-test-report": [
            question("r0", "a.png", "Report?", "Sinus."),
            question("r1", "a.png", "Report?", "Flutter."),
        ],
    }
    for name, told in files.items():
        (folder / f"ecgbench/{name}.json").write_text(json.dumps(told))
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path) -> Run:
    def run(*words: str, says: str = "NORM", out: str = "run") -> tuple[int, str, str]:
        given = ["eval", "--data", str(data), "--out", str(tmp_path / out), *words]
        code = main(given, open_assistant=Answers(lambda text, case: says).open)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def lines(path: Path, **answers: str) -> Path:
    """A file of recorded answers."""
    rows = [{"question_id": name, "text": text, "model_id": "GEM"} for name, text in answers.items()]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_hanging_judge_is_unscored_and_the_run_ends(data: Path, tmp_path: Path) -> None:
    mock = judge(lambda prompt: points(prompt, Diagnosis=[8]))
    real = mock.api.generate

    async def hanging(input: Any, *more: Any, **named: Any) -> Any:
        if "Flutter." in input[-1].text.partition("<interpretation>")[0]:
            import anyio

            await anyio.sleep(60)
        return await real(input, *more, **named)

    mock.api.generate = hanging  # type: ignore[method-assign]
    started = time.monotonic()
    [found] = runs.run(
        chosen("ecgbench_ptbxl_report"),
        "llava_ecg/mine",
        data,
        tmp_path / "run",
        model_args={"opener": Answers(lambda text, case: "Sinus.").open},
        judges=[mock],
        judge_seconds=0.2,
    )
    assert time.monotonic() - started < 30
    assert found.failed == (0, "") and found.scores is not None
    assert found.scores.unscored["Diagnosis"] == 0.5
    assert found.scores.figures["Diagnosis"].value == pytest.approx(0.8)
    assert found.told[1].more["why"] == ["nothing was said within 0.2 s"]


def test_a_record_that_was_missing_is_asked_again_alone(run: Run, data: Path, tmp_path: Path) -> None:
    np.save(data / "ptbxl/signals_250hz_int16.npy", np.full((2, 12, 2500), 100, dtype=np.int16))
    code, out, _ = run("--tasks", "ptbxl_super")
    assert code == 1 and "without an answer: 1 of 3" in out
    np.save(data / "ptbxl/signals_250hz_int16.npy", np.full((3, 12, 2500), 100, dtype=np.int16))
    again = Answers(lambda text, case: "NORM")
    given = ["eval", "--data", str(data), "--out", str(tmp_path / "run"), "--tasks", "ptbxl_super", "--json"]
    assert main(given, open_assistant=again.open) == 0
    assert len(again.asked) == 1


def test_all_says_what_it_leaves_out(run: Run, data: Path) -> None:
    code, out, _ = run("--tasks", "all", "--json")
    told = json.loads(out)
    assert code == 0
    assert {each["task"] for each in told["tasks"]} >= {"ptbxl_super", "readings", "ecgbench_cpsc"}
    assert told["left_out"]["ecgbench_ptbxl_report"] == "which needs --judge"
    assert told["left_out"]["grounded_mimic"].startswith("which reads ecgbench/ecg-grounding-test-mimiciv")
    (data / "ptbxl/labels.csv").unlink()
    for path in (data / "ecgbench").glob("*.json"):
        path.unlink()
    code, _, err = run("--tasks", "all", out="other")
    assert code == 2 and "no task has its files" in err


def test_recorded_answers_are_scored_under_their_models_name(run: Run, tmp_path: Path) -> None:
    given = lines(tmp_path / "a.jsonl", s0="NORM", s1="no idea")
    code, out, err = run("--tasks", "ecgbench_ptbxl_super", "--answers", str(given), "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["model"] == "GEM"
    [task] = told["tasks"]
    assert task["scores"]["unparsed"] == 1 and task["scores"]["figures"]["f1"]["value"] < 1
    assert task["stands_on"]["answers_of"] == "GEM"
    # the same again is read from the log
    assert run("--tasks", "ecgbench_ptbxl_super", "--answers", str(given))[0] == 0
    assert len(list_eval_logs(str(tmp_path / "run"))) == 1


@pytest.mark.parametrize(
    ("words", "answers", "sentence"),
    [
        (
            [],
            {"p0": "AF"},
            "holds answers to ecgbench_cpsc and not to ecgbench_ptbxl_super",
        ),
        ([], {"x": "AF"}, "something else than ecgbench_ptbxl_super: that has no question called x"),
        (["--model", "PULSE"], {"s0": "NORM"}, "holds answers of GEM and not of PULSE"),
        (["--temperature", "1"], {"s0": "NORM"}, "so --temperature would do nothing"),
        (["--likelihoods", "--no-strict"], {"s0": "NORM"}, "so --likelihoods, --no-strict would do nothing"),
    ],
)
def test_answers_of_something_else_are_refused(
    words: list[str], answers: dict[str, str], sentence: str, run: Run, tmp_path: Path
) -> None:
    given = lines(tmp_path / "a.jsonl", **answers)
    code, out, err = run("--tasks", "ecgbench_ptbxl_super", "--answers", str(given), *words)
    assert (code, out) == (2, "")
    assert sentence in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"question_id": "s0", "text": "a"}\n{"question_id": "s0", "text": "b"}', "answers the question s0 twice"),
        ('{"question_id": "s0"}', "record 0 has no text and no response"),
        ("", "holds no answer"),
        ("{", "can't be read as JSON"),
        ('{"question_id": "s0", "text": "a", "prompt": "Rate?"}', "was asked as s0 is 'Rate?'"),
        (
            '{"id": "s0", "text": "a", "model_id": "A"}\n{"id": "s1", "text": "a", "model_id": "B"}',
            "several models: A, B",
        ),
    ],
)
def test_files_that_hold_no_answers(text: str, sentence: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    code, _, err = run("--tasks", "ecgbench_ptbxl_super", "--answers", str(tmp_path / "a.jsonl"))
    assert code == 2 and sentence in err and err.count("\n") == 1


def test_a_question_without_a_recorded_answer_has_failed(run: Run, tmp_path: Path) -> None:
    given = lines(tmp_path / "a.jsonl", s0="NORM")
    code, out, _ = run("--tasks", "ecgbench_ptbxl_super", "--answers", str(given))
    assert code == 1
    assert "without an answer: 1 of 2" in out and "has no answer to this question" in out
    # other answers do not go into the same folder
    code, _, err = run("--tasks", "ecgbench_ptbxl_super", "--answers", str(lines(given, s0="NORM", s1="MI")))
    assert code == 2 and "with answers fingerprint" in err


@pytest.mark.parametrize(
    ("words", "fact"),
    [(["--temperature", "0.5"], "decoding"), (["--likelihoods"], "can't be used for this run")],
)
def test_other_settings_do_not_go_on_in_the_same_folder(words: list[str], fact: str, run: Run) -> None:
    assert run("--tasks", "ptbxl_super")[0] == 0
    code, _, err = run("--tasks", "ptbxl_super", *words)
    assert code == 2 and fact in err and err.count("\n") == 1


def test_other_questions_do_not_go_on_in_the_same_folder(run: Run, data: Path) -> None:
    assert run("--tasks", "ecgbench_cpsc")[0] == 0
    (data / "ecgbench/cpsc-test.json").write_text(json.dumps([question("p0", "a.png", "Labels?", "STE")]))
    code, _, err = run("--tasks", "ecgbench_cpsc")
    assert code == 2 and "with data fingerprint" in err


def test_what_no_task_needs_is_refused(run: Run) -> None:
    assert "none of these tasks is scored by a judge" in run("--tasks", "ptbxl_super", "--judge", "mockllm/model")[2]
    assert "none of these tasks has labels" in run("--tasks", "ecgbench_ptbxl_report", "--likelihoods")[2]


def test_a_right_answer_that_can_not_be_read_fails_alone(run: Run, data: Path) -> None:
    rows = [question("s0", "a.png", "Labels?", "NORM"), question("s1", "a.png", "Labels?", "see report")]
    (data / "ecgbench/ptb-test.json").write_text(json.dumps(rows))
    code, out, _ = run("--tasks", "ecgbench_ptbxl_super")
    assert code == 1 and "answers 1, unparsed" in out
    assert "without an answer: 1 of 2" in out and "can't be read: 'see report'" in out


@pytest.mark.parametrize(
    ("judge", "sentence"),
    [
        ("nobody/nothing", "the judge nobody/nothing can't be opened"),
        ("llava_ecg/gem-tiny", "can't be a judge of texts"),
    ],
)
def test_a_judge_that_can_not_be_asked_is_one_mistake(judge: str, sentence: str, run: Run) -> None:
    code, _, err = run("--tasks", "ecgbench_ptbxl_report", "--judge", judge)
    assert code == 2 and sentence in err and err.count("\n") == 1


KILLED = """
import os, random, signal, sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.eval.test_bench import Answers, judge, points
from llava_ecg.eval import runs
from llava_ecg.eval.tasks import chosen

def note(what):
    with open("asked.txt", "a") as out:
        out.write(what + "\\n")
    if Path("asked.txt").read_text().count("\\n") == int(sys.argv[3]):
        time.sleep(1.5)  # as an answer takes; what came before it is in the log meanwhile
        os.kill(os.getpid(), signal.SIGKILL)

def replies(prompt):
    note("judged " + prompt.rpartition("<reference>\\n")[2].partition("\\n")[0])
    return points(prompt, Diagnosis=[8])

def says(text, case):
    note("asked")
    return "Sinus."

[found] = runs.run(
    chosen("ecgbench_ptbxl_report"), "llava_ecg/mine", Path(sys.argv[1]), Path("run"),
    model_args={"opener": Answers(says).open}, judges=[judge(replies)],
)
print(found.questions, found.scores.count, found.scores.figures["Diagnosis"].value)
"""


def test_a_run_that_is_killed_while_a_judge_speaks_goes_on(data: Path, tmp_path: Path) -> None:
    """Two questions and two judgements; the process is killed in the third of these four. The same command ends it:
    nothing is lost, nothing counted twice, and nothing done again but what was under way."""
    told = [sys.executable, "-c", KILLED, str(data), str(Path(__file__).parents[2]), "3"]
    first = subprocess.run(told, cwd=tmp_path, capture_output=True, text=True)
    assert first.returncode == -signal.SIGKILL, first.stderr[-2000:]
    again = subprocess.run(told, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr[-2000:]
    assert again.stdout.split()[-3:-1] == ["2", "2"] and float(again.stdout.split()[-1]) == pytest.approx(0.8)
    done = (tmp_path / "asked.txt").read_text().splitlines()
    assert len(done) <= 3 + 4 and set(done) == {"asked", "judged Sinus.", "judged Flutter."}


def test_the_log_says_what_the_run_stands_on(run: Run, tmp_path: Path) -> None:
    assert run("--tasks", "ptbxl_super", "--seed", "3")[0] == 0
    [info] = list_eval_logs(str(tmp_path / "run"))
    log = read_eval_log(info, header_only=True)
    assert log.eval.metadata is not None and log.results is not None
    facts = log.eval.metadata
    assert len(facts["data_fingerprint"]) == len(facts["records_fingerprint"]) == 16
    assert {"llava_ecg", "inspect_ai", "torch", "transformers", "python"} <= set(facts["versions"])
    assert facts["decoding"]["seed"] == 3 and facts["decoding"]["repetition_penalty"] == 1.0
    assert (log.results.total_samples, log.results.completed_samples) == (3, 3)
    assert {each.name: each.metrics["unparsed"].value for each in log.results.scores if each.name == "fixed"} == {
        "fixed": 0
    }


def test_a_folder_without_logs() -> None:
    with pytest.raises(InputError, match="holds no log"):
        runs.outcomes(Path("nowhere"))
