"""The table of tasks: each is a value, `EvalTask`, and the socket ``task`` takes more (docs/evaluate.md).

A task reads its questions from the data folder, says how an answer is read and which figures are made of it; it knows
no harness and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llava_ecg import plugins
from llava_ecg.errors import InputError
from llava_ecg.eval import published
from llava_ecg.eval.ecgbench import Split
from llava_ecg.eval.items import Item, Told, by_ecg
from llava_ecg.eval.marking import Labels, Letters, Marking, Options
from llava_ecg.eval.marking_judged import ByJudge
from llava_ecg.eval.marking_measured import Grounding, Readings
from llava_ecg.eval.modality import Missing, Thrice
from llava_ecg.eval.parsers import Label
from llava_ecg.eval.rubrics import ARENAS, GROUNDED, GROUNDED_R1, REPORTS
from llava_ecg.eval.samples import (
    RHYTHMS,
    read_ecgqa,
    read_interpretations,
    read_recordings,
    read_rhythms,
    read_signals,
    read_superclasses,
)
from llava_ecg.eval.scorers import Scores


@dataclass(frozen=True)
class EvalTask:
    """A benchmark.

    Attributes:
        name: what it is asked for by.
        summary: one line.
        needs: the files below the data folder that it reads, in words.
        read: data folder -> rows, each the fields of an `Item`.
        prompt: the question as it is put, with ``{question}`` and ``{options}``.
        marking: how answers are read and scored.
        published: name of a model -> metric -> figure in percent or points, as published on the whole test set.
        note: what is to be known when figures are compared.
    """

    name: str
    summary: str
    needs: str
    read: Callable[[Path], Sequence[Mapping[str, Any]]]
    prompt: str = "{question}"
    marking: Marking = field(default_factory=Options)
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    note: str = ""

    def items(self, data: Path) -> list[Item]:
        """The questions, those about one ECG together.

        Raises:
            InputError: a file that it reads is missing or holds something else.
        """
        try:
            return by_ecg(Item(**row) for row in self.read(data))
        except FileNotFoundError as error:
            raise InputError(
                f"the task {self.name} reads {self.needs} below {data}, and {error.filename} is not there; give "
                "the folder that holds them with --data"
            ) from error

    def there(self, data: Path) -> bool:
        """Whether all files that it reads are there.

        Raises:
            InputError: one of them holds something else.
        """
        try:
            return bool(self.read(data))
        except FileNotFoundError:
            return False

    def put(self, item: Item) -> str:
        """The question as the model is asked it."""
        return self.prompt.format(question=item.question, options=", ".join(item.options))

    def scores(self, items: Sequence[Item], told: Sequence[Told]) -> Scores:
        """The figures of answers, one an item."""
        return self.marking.scores(items, told)

    def scores_legacy(self, items: Sequence[Item], told: Sequence[Told]) -> dict[str, float]:
        """The figures that the public code would give; see `llava_ecg.eval.scorers_legacy`."""
        return self.marking.scores_legacy(items, told, [self.put(item) for item in items]) if items else {}


_OWN_PROMPTS = "judged by our own prompts, so figures come near to the published ones and are not the same"
_SUPER = (
    Label("NORM", ("normal ECG",)),
    Label("MI", ("myocardial infarction",)),
    Label("STTC", ("ST/T change", "ST/T changes", "ST-T change", "ST-T changes")),
    Label("CD", ("conduction disturbance", "conduction disturbances")),
    Label("HYP", ("hypertrophy",)),
)
_BRANCHES = (
    Label("LBBB", ("left bundle branch block",)),
    Label("RBBB", ("right bundle branch block",)),
)
_CODE15 = (
    Label("NORM", ("normal ECG",)),
    Label("ABNORMAL", ("abnormal ECG",)),
    Label("1dAVb", ("first degree AV block", "first-degree AV block")),
    *_BRANCHES,
    Label("SB", ("sinus bradycardia",)),
    Label("ST", ("sinus tachycardia",), unless=r"[-\s]*(?:segment|elevation|depression|change|T\b)"),
    Label("AF", ("atrial fibrillation",)),
)
_CPSC = (
    Label("NORM", ("normal ECG",)),
    Label("AF", ("atrial fibrillation",)),
    Label("I-AVB", ("first degree AV block", "first-degree AV block")),
    *_BRANCHES,
    Label("PAC", ("premature atrial contraction", "premature atrial contractions")),
    Label("PVC", ("premature ventricular contraction", "premature ventricular contractions")),
    Label("STD", ("ST depression", "ST-segment depression")),
    Label("STE", ("ST elevation", "ST-segment elevation")),
)


def _file(name: str) -> str:
    return f"ecgbench/{name}.json (or .jsonl) and its ECGs; llava-ecg prepare ecgbench joins them"


def _bench(name: str, summary: str, split: Split, marking: Marking, **more: Any) -> EvalTask:
    return EvalTask(name, summary, _file(split.name), split, marking=marking, **more)


ptbxl_super = EvalTask(
    name="ptbxl_super",
    summary="PTB-XL superclasses, several may be right; the sample's fold 9",
    needs="ptbxl/labels.csv and ptbxl/signals_250hz_int16.npy",
    read=read_superclasses,
    marking=Labels(_SUPER),
    published=published.SUPER,
    note="published on fold 10 (2,082 ECGs) with other prompts; these are a sample of fold 9, filtered and scaled",
)
ptbxl_rhythm = replace(
    ptbxl_super,
    name="ptbxl_rhythm",
    summary="PTB-XL rhythms, which of five; the sample's fold 9",
    read=read_rhythms,
    marking=Labels(tuple(Label(code, (rhythm,)) for code, rhythm in RHYTHMS.items())),
    published={},
    note="a sample of fold 9, filtered and scaled",
)
ecgqa = EvalTask(
    name="ecgqa",
    summary="ECG-QA, the exact set of options; questions about the sample's fold 9",
    needs="ecgqa/*.json, ptbxl/labels.csv and ptbxl/signals_250hz_int16.npy",
    read=read_ecgqa,
    prompt="{question} Options: {options}",
    published=published.ECGQA,
    note="published on 1,317 questions of ECGBench of all kinds; these are the questions in the folder",
)
ptbxl_super_missing = replace(
    ptbxl_super,
    name="ptbxl_super_missing",
    summary="ptbxl_super with the signal alone, the image alone and both, and how far the answers agree",
    read=Thrice(read_superclasses),
    marking=Missing(Labels(_SUPER)),
    published={},
    note="a sample of fold 9, filtered and scaled",
)
readings = EvalTask(
    name="readings",
    summary="heart rate and intervals in the model's own words: how far they are off what is measured",
    needs="ptbxl/labels.csv and ptbxl/signals_250hz_int16.npy",
    read=read_signals,
    marking=Readings(),
    note="held against our own measurement, which has errors itself (docs/measure.md)",
)
measured = EvalTask(
    name="measured",
    summary="measured grounding: what of an interpretation the signal bears out, above its floors",
    needs="cinc2021/*.hea",
    read=read_recordings,
    marking=Grounding(),
    note="how often verdicts are wrong themselves: docs/grounding.md",
)
measured_fold9 = replace(
    measured,
    name="measured_fold9",
    summary="measured grounding on the sample's fold 9, whose leads were scaled one by one: of what rests on no volts",
    needs="ptbxl/labels.csv and ptbxl/signals_250hz_int16.npy",
    read=read_interpretations,
)
ecgbench_ptbxl_super = _bench(
    "ecgbench_ptbxl_super",
    "ECGBench: PTB-XL superclasses, several may be right",
    Split("ptb-test", labels=_SUPER),
    Labels(_SUPER),
    published=published.SUPER,
)
ecgbench_code15 = _bench(
    "ecgbench_code15",
    "ECGBench: CODE-15 %, normal or which of six abnormalities",
    Split("code15-test", labels=_CODE15),
    Labels(_CODE15, normal=("NORM", "ABNORMAL")),
    published=published.CODE15,
)
ecgbench_cpsc = _bench(
    "ecgbench_cpsc",
    "ECGBench: CPSC 2018, which of nine labels",
    Split("cpsc-test", labels=_CPSC),
    Labels(_CPSC),
    published=published.CPSC,
)
ecgbench_csn = _bench(
    "ecgbench_csn",
    "ECGBench: CSN (Chapman, Shaoxing, Ningbo), one of up to eight options",
    Split("csn-test-no-cot", letters=True),
    Letters(),
    published=published.CSN,
)
ecgbench_g12ec = _bench(
    "ecgbench_g12ec",
    "ECGBench: G12EC (Georgia), one of up to eight options",
    Split("g12-test-no-cot", letters=True),
    Letters(),
    published=published.G12EC,
)
ecgbench_ecgqa = _bench(
    "ecgbench_ecgqa",
    "ECGBench: ECG-QA, the exact set of options",
    Split("ecgqa-test", listed=True),
    Options(),
    published=published.ECGQA,
)
ecgbench_mmmu = _bench(
    "ecgbench_mmmu", "ECGBench: MMMU ECG, one of four options, images alone", Split("mmmu-ecg", letters=True), Letters()
)
ecgbench_ptbxl_report = _bench(
    "ecgbench_ptbxl_report",
    "ECGBench: PTB-XL reports, judged",
    Split("ptb-test-report"),
    ByJudge(REPORTS, mean=True),
    published=published.REPORT,
    note=_OWN_PROMPTS,
)
ecgbench_arena = _bench(
    "ecgbench_arena",
    "ECGBench: ECG Arena, several turns, judged; images alone",
    Split("arena", also=("ecg-arena",)),
    ByJudge(ARENAS, mean=True),
    note=_OWN_PROMPTS,
)
_MIMIC = Split("ecg-grounding-test-mimiciv", lent=True, also=("ecg-grounding-test-mimiciv_full", "ecg-grounding-test"))
_PTBXL = Split("ecg-grounding-test-ptbxl", lent=True, also=("ecg-grounding-test-ptbxl_full",))
grounded_mimic = _bench(
    "grounded_mimic",
    "Grounded ECG Understanding on MIMIC-IV-ECG, GEM's eight criteria, judged",
    _MIMIC,
    ByJudge(GROUNDED, public=True),
    published=published.GROUNDED_MIMIC,
    note=_OWN_PROMPTS,
)
grounded_ptbxl = replace(
    grounded_mimic,
    name="grounded_ptbxl",
    summary="Grounded ECG Understanding on PTB-XL, GEM's eight criteria, judged",
    needs=_file(_PTBXL.name),
    read=_PTBXL,
    published=published.GROUNDED_PTBXL,
)
grounded_mimic_r1 = replace(
    grounded_mimic,
    name="grounded_mimic_r1",
    summary="the same on MIMIC-IV-ECG by ECG-R1's seven criteria, judged",
    marking=ByJudge(GROUNDED_R1),
    published=published.GROUNDED_R1,
    note=f"{_OWN_PROMPTS}; not comparable with GEM's eight criteria",
)
grounded_ptbxl_r1 = replace(
    grounded_ptbxl,
    name="grounded_ptbxl_r1",
    summary="the same on PTB-XL by ECG-R1's seven criteria, judged",
    marking=ByJudge(GROUNDED_R1),
    published={},
    note=f"{_OWN_PROMPTS}; not comparable with GEM's eight criteria",
)
grounded_mimic_missing = replace(
    grounded_mimic,
    name="grounded_mimic_missing",
    summary="grounded_mimic with the signal alone, the image alone and both; agreement is ROUGE-L of the texts",
    read=Thrice(_MIMIC),
    marking=Missing(ByJudge(GROUNDED)),
    published={},
)
measured_mimic = replace(
    measured,
    name="measured_mimic",
    summary="measured grounding of interpretations of MIMIC-IV-ECG; its ceiling are the reference texts",
    needs=_file(_MIMIC.name),
    read=_MIMIC,
)
measured_ptbxl = replace(
    measured_mimic,
    name="measured_ptbxl",
    summary="measured grounding of interpretations of PTB-XL; its ceiling are the reference texts",
    needs=_file(_PTBXL.name),
    read=_PTBXL,
)


def chosen(names: str) -> list[EvalTask]:
    """The tasks of a list with commas, or ``all``: then those that can't be imported are left out, with a warning.

    Raises:
        InputError: an unknown name, one twice, or none.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if wanted == ["all"]:
        wanted = [name for name, _ in plugins.tasks.usable()]
    if not wanted or len(set(wanted)) != len(wanted):
        raise InputError(f"--tasks {names!r} names no task, or one twice; llava-ecg eval --list shows them")
    found = [plugins.tasks.get(name) for name in wanted]
    for name, each in zip(wanted, found, strict=True):
        if not isinstance(each, EvalTask):
            raise InputError(
                f"the task {name!r} ({plugins.tasks.where(name)}) is a {type(each).__name__} and no EvalTask"
            )
    return [replace(each, name=name) for name, each in zip(wanted, found, strict=True)]
