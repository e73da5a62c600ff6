"""Every task from end to end through inspect_ai: a scripted assistant answers, scripted judges score."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("inspect_ai", reason="the extra eval brings it")
pytest.importorskip("h5py", reason="the extra formats brings it")

from inspect_ai.log import read_eval_log
from inspect_ai.model import Model, ModelOutput, ModelUsage, get_model

from llava_ecg.assistant import Answer
from llava_ecg.errors import InputError
from llava_ecg.eval import runs
from llava_ecg.eval.prepare import prepare
from llava_ecg.eval.runs import Outcome
from llava_ecg.eval.tasks import chosen
from tests.eval.bench import RATES, write_images, write_questions, write_record, write_records

Says = Callable[[str, Any], str]


class Answers:
    """An assistant that says what a function of the question and the case says."""

    def __init__(self, says: Says) -> None:
        self.says = says
        self.asked: list[tuple[Any, Any]] = []

    def open(self, model: str, **_: Any) -> Answers:
        return self

    def ask(self, turns: Any, case: Any, decoding: Any) -> Answer:
        self.asked.append((turns, case))
        seconds = {"prepare": 0.0, "first_token": 0.0, "total": 0.1}
        return Answer(self.says(turns[-1].text, case), "scripted", {"prompt": 1, "new": 1}, seconds, "stop")


def output(text: str) -> ModelOutput:
    found = ModelOutput.from_content("judge", text)
    found.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)  # else it fetches a tokenizer
    return found


def judge(replies: Callable[[str], str]) -> Model:
    """A judge that replies to a prompt as a function of it says."""
    return get_model(
        "mockllm/model",
        memoize=False,
        custom_outputs=lambda input, tools, tool_choice, config: output(replies(input[-1].text)),
    )


def points(prompt: str, **scores: Sequence[float]) -> str:
    """A reply for the criteria of a prompt: those given, and one point for each other one."""
    names = re.findall(r"^- (\w+):", prompt, re.MULTILINE)
    return json.dumps({name: [{"score": each, "about": "x"} for each in scores.get(name, [1])] for name in names})


def rate_of(case: Any) -> float:
    return min(RATES, key=lambda rate: abs(rate - case.measurements.heart_rate_bpm))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with all of it."""
    root = tmp_path_factory.mktemp("bench")
    write_questions(root / "questions")
    write_images(root / "questions/images")
    prepare(root / "questions", write_records(root / "ecgs"), root / "data")
    for place in range(3):
        write_record(root / f"data/cinc2021/A000{place}", place)
    (root / "data/ptbxl").mkdir()
    (root / "data/ecgqa").mkdir()
    from tests.eval.bench import heart

    steps = [np.round(heart(place).resample(250).signal[:, :2500] * 1000) for place in range(3)]
    np.save(root / "data/ptbxl/signals_250hz_int16.npy", np.array(steps, dtype=np.int16))
    rows = ["row,ecg_id,patient_id,strat_fold,super_class,rhythm"]
    rows += ["0,10,1,9,NORM,SR", "1,11,2,9,MI|STTC,AFIB", "2,12,3,9,NORM,SR"]
    (root / "data/ptbxl/labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    told = {"question": "Is there noise?", "attribute": ["noise"], "template_id": 1, "question_type": "single-verify"}
    asked = [told | {"ecg_id": [10], "answer": ["yes"]}, told | {"ecg_id": [11], "answer": ["no"]}]
    (root / "data/ecgqa/questions.json").write_text(json.dumps(asked), encoding="utf-8")
    return root / "data"


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Callable[..., list[Outcome]]:
    def run(names: str, says: Says, *, judges: Sequence[Model] = (), out: str = "run", **more: Any) -> list[Outcome]:
        opener = Answers(says).open
        where = tmp_path / out
        given = {"model_args": {"opener": opener}, "judges": judges} | more
        return runs.run(chosen(names), "llava_ecg/mine", data, where, **given)

    return run


def values(found: Outcome) -> dict[str, float | None]:
    assert found.failed == (0, "")
    assert found.scores is not None
    return {name: figure.value for name, figure in found.scores.figures.items()}


CHOSEN = {
    "ecgbench_ptbxl_super": ("Answer: NORM", {"f1": (4 / 5 + 0 + 0) / 3}),
    "ecgbench_code15": ("The ECG is ABNORMAL: 1dAVb.", {"hamming_loss": (3 + 2) / 16}),
    "ecgbench_cpsc": ("STD", {"f1": (0 + 2 / 3) / 2}),
    "ecgbench_csn": ("A. Sinus rhythm", {"accuracy": 1.0}),
    "ecgbench_g12ec": ("The answer is B", {"accuracy": 0.0}),
    "ecgbench_ecgqa": ("No.", {"accuracy": 0.5}),
    "ecgbench_mmmu": ("Pacing", {"accuracy": 1.0}),
    "ptbxl_super": ("NORM", {"f1": (4 / 5 + 0 + 0) / 3}),
    "ptbxl_rhythm": ("The rhythm is regular, consistent with sinus rhythm.", {"f1": (4 / 5 + 0) / 2}),
    "ecgqa": ("no", {"accuracy": 0.5}),
}


def test_tasks_with_right_answers(run: Any) -> None:
    """All nine at once; each gives the answer that the table has for it."""
    for name, (answer, figures) in CHOSEN.items():
        answer = "B" if name == "ecgbench_g12ec" else answer
        expected = {"accuracy": 1.0} if name == "ecgbench_g12ec" else figures
        [found] = run(name, lambda text, case, answer=answer: answer, out=name)
        told = values(found)
        assert {key: told[key] for key in expected} == pytest.approx(expected), name
        assert found.legacy, name


def test_the_public_reading_of_code15_is_its_own(run: Any) -> None:
    [found] = run("ecgbench_code15", lambda text, case: "The ECG is ABNORMAL: 1dAVb.")
    # labels of the right answers alone: NORM, 1dAVb, SB; of six decisions wrong are NORM and 1dAVb of the first, SB
    assert found.legacy["hamming_loss"] == pytest.approx(3 / 6)


def test_a_judge_scores_reports_and_conversations(run: Any) -> None:
    prompts: list[str] = []

    def replies(prompt: str) -> str:
        prompts.append(prompt)
        return points(prompt, Diagnosis=[9], Waveform=[6], Rhythm=[3], Accuracy=[10])

    report, arena = run(
        "ecgbench_ptbxl_report,ecgbench_arena",
        lambda text, case: f"To {text} this.",
        judges=[judge(replies)],
    )
    assert values(report) == pytest.approx({"Diagnosis": 0.9, "Waveform": 0.6, "Rhythm": 0.3, "mean": 0.6})
    assert values(arena) == pytest.approx(
        {"Accuracy": 1, "Completeness": 0.1, "InstructionAdherence": 0.1, "mean": 0.4}
    )
    [conversation] = [prompt for prompt in prompts if "[question 2]" in prompt]
    assert "[answer 1]\nTo Rhythm? this." in conversation and "[answer 2]\nTo Rate? this." in conversation
    assert "Sinus rhythm.\n\n75 bpm." in conversation
    log = read_eval_log(report.log, resolve_attachments=True)
    assert log.samples is not None and log.results is not None
    events = [each for each in log.samples[0].events if each.event == "model" and each.role == "grader"]
    assert prompts[0].splitlines()[0] in events[0].input[0].text and "Diagnosis" in events[0].output.completion
    assert events[0].config.temperature == 0
    assert log.eval.metadata["rubric"] == "report v1" and log.eval.metadata["judges"] == ["mockllm/model"]


@pytest.mark.parametrize("name", ["grounded_mimic", "grounded_ptbxl", "grounded_mimic_r1", "grounded_ptbxl_r1"])
def test_grounded_understanding(name: str, run: Any) -> None:
    given = {
        "DiagnosisAccuracy": [2, 0],
        "LeadAssessmentCoverage": [1] * 6,
        "LeadAssessmentAccuracy": [2] * 15,
        "LeadEvidenceValidity": [2, 1],
        "GroundedECGUnderstanding": [80],
    }

    def replies(prompt: str) -> str:
        return points(prompt, **given).replace("GroundedECGUnderstanding", "ECGFeatureGrounding")

    [found] = run(name, lambda text, case: "Sinus rhythm.", judges=[judge(replies)])
    told = values(found)
    assert told["DiagnosisAccuracy"] == 0.5
    assert told["GroundedECGUnderstanding"] == pytest.approx(0.8)
    if name.endswith("r1"):
        assert told["LeadEvidenceValidity"] == 3 and "LeadAssessmentCoverage" not in told
        assert found.legacy == {}
    else:
        assert (told["LeadAssessmentCoverage"], told["LeadAssessmentAccuracy"]) == (0.5, 1.0)
        assert found.legacy["LeadAssessmentAccuracy"] == pytest.approx(30 / 24)
        assert found.legacy["ECGFeatureGrounding"] == pytest.approx(0.8)


def test_measured_grounding_between_floors_and_ceiling(run: Any) -> None:
    [found] = run("measured_mimic", lambda text, case: f"The rate is {rate_of(case):.0f} bpm.")
    told = values(found)
    assert (told["score"], told["coverage"], told["ceiling"]) == (1, 1, 1)
    assert told["shuffled"] == 0
    assert told["lift"] == pytest.approx(1 - told["constant"])
    assert found.scores is not None
    assert found.scores.tables["claims by quantity"]["heart_rate_bpm"] == {
        "supported": 3,
        "contradicted": 0,
        "open": 0,
    }


@pytest.mark.parametrize("name", ["measured", "measured_fold9", "measured_ptbxl"])
def test_a_constant_text_lifts_nothing(name: str, run: Any) -> None:
    [found] = run(name, lambda text, case: "The rate is 75 bpm.")
    told = values(found)
    assert told["score"] == pytest.approx(1 / 3) and told["lift"] <= 0
    assert ("ceiling" in told) == (name == "measured_ptbxl")


def test_readings_are_held_against_the_measurement(run: Any) -> None:
    [found] = run("readings", lambda text, case: f"Heart rate {rate_of(case) + 10:.0f} bpm, QRS 100 ms.")
    told = values(found)
    assert told["heart_rate_bpm_error"] == pytest.approx(10, abs=1)
    assert (told["heart_rate_bpm_given"], told["pr_ms_given"]) == (1, 0)
    assert told["pr_ms_error"] is None
    assert found.scores is not None and found.scores.units["heart_rate_bpm_error"] == "bpm"
    # the median of 50, 75 and 120 is off by 25, 0 and 45
    assert found.scores.majority["heart_rate_bpm_error"] == pytest.approx(70 / 3, abs=1)
    [silent] = run("readings", lambda text, case: "Sinus rhythm.", out="silent")
    assert silent.scores is not None and silent.scores.unparsed == 3


def test_what_is_shown_goes_missing_and_answers_agree_or_not(run: Any) -> None:
    seen: list[set[str]] = []

    def says(text: str, case: Any) -> str:
        seen.append(set(case.sources()))
        return "NORM" if "ecg" in case.sources() else "MI"

    [found] = run("ptbxl_super_missing", says)
    told = values(found)
    assert sorted(map(sorted, seen)) == [["ecg"]] * 3 + [["ecg", "image"]] * 3 + [["image"]] * 3
    assert told["agreement_ecg_both"] == 1
    assert told["agreement_ecg_image"] == told["agreement_image_both"] == 0
    assert told["hamming_loss_ecg"] == pytest.approx(3 / 15)
    assert told["hamming_loss_image"] == pytest.approx((2 + 1 + 2) / 15)
    assert found.scores is not None and found.scores.count == 9
    # the first question, with the signal alone
    [first] = run("ptbxl_super_missing", says, out="first", limit=1)
    assert values(first)["hamming_loss_ecg"] == 0 and values(first)["hamming_loss_image"] is None


def test_missing_modality_of_free_text_is_judged(run: Any) -> None:
    [found] = run(
        "grounded_mimic_missing",
        lambda text, case: "a b c d" if "ecg" in case.sources() else "a b x",
        judges=[judge(lambda prompt: points(prompt, GroundedECGUnderstanding=[40 if "a b x" in prompt else 60]))],
    )
    told = values(found)
    assert told["GroundedECGUnderstanding_image"] == pytest.approx(0.4)
    assert told["GroundedECGUnderstanding_both"] == pytest.approx(0.6)
    assert told["agreement_ecg_image"] == pytest.approx(2 * 2 / 7)
    assert found.scores is not None and found.scores.units["AnalysisRelevance_ecg"] == "points"


def test_every_task_of_the_table_is_run_above() -> None:
    """A task that is added without a test of its own is found here."""
    above = Path(__file__).read_text(encoding="utf-8")
    for task in chosen("all"):
        assert re.search(rf'["\',]{task.name}["\',]', above), task.name


def test_two_judges_and_how_far_they_agree(run: Any) -> None:
    def scored(by: dict[str, float]) -> Model:
        def replies(prompt: str) -> str:
            answer = prompt.rpartition("<interpretation>\n")[2].partition("\n")[0]
            return points(prompt, EvidenceBasedReasoning=[by[answer]])

        return judge(replies)

    def says(text: str, case: Any) -> str:
        return f"{rate_of(case):.0f}"

    mild, stern = {"50": 90.0, "75": 60.0, "120": 30.0}, {"50": 80.0, "75": 50.0, "120": 20.0}
    [found] = run("grounded_mimic", says, judges=[scored(mild), scored(stern)])
    assert values(found)["EvidenceBasedReasoning"] == pytest.approx(0.6)  # the first judge's
    assert found.scores is not None
    row = found.scores.tables["agreement of the first two judges"]["EvidenceBasedReasoning"]
    assert row["second less first"] == pytest.approx(-0.1)
    assert row["concordance"] == pytest.approx(2 * 0.06 / (0.06 + 0.06 + 0.01))
    same = found.scores.tables["agreement of the first two judges"]["DiagnosisAccuracy"]
    assert same["concordance"] == 1


def test_a_judge_is_needed_and_never_the_model_itself(run: Any, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="scored by a judge; name one"):
        run("grounded_mimic", lambda text, case: "x")
    from inspect_ai import eval as evaluate
    from inspect_ai.model import get_model

    from llava_ecg.eval.harness import declared

    model = get_model("llava_ecg/mine", memoize=False, opener=Answers(lambda text, case: "x").open)
    made = declared("grounded_mimic")(data=str(data))
    [log] = evaluate(made, model=model, display="none", log_dir=str(tmp_path / "logs"), log_level="error")
    assert log.samples is not None and all("needs a judge" in each.error.message for each in log.samples if each.error)
    assert all(each.error is not None for each in log.samples)
