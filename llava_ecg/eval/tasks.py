"""The table of tasks: each is a value, `EvalTask`, and the socket ``task`` takes more (docs/evaluate.md).

A task reads its questions from the data folder, says how an answer is read and which figures are made of it; it knows
no harness and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from llava_ecg import plugins
from llava_ecg.errors import InputError
from llava_ecg.eval import parsers, parsers_legacy, scorers_legacy
from llava_ecg.eval.parsers import Label
from llava_ecg.eval.samples import read_ecgqa, read_superclasses
from llava_ecg.eval.scorers import Said, Scores, exact, multi_label


@dataclass(frozen=True)
class Item:
    """A question with its right answer.

    Attributes:
        name: of the question, once in a task.
        question: what is asked, without the options.
        truth: the options or labels that are right.
        sources: what it is about, for each ECG a block as `llava_ecg.eval.sources.case` takes it; plain JSON.
        options: what may be answered; empty where the task has labels.
        group: what shares a patient, drawn together for the intervals.
        kind: of the question; figures are made for each kind too where there are several.
    """

    name: str
    question: str
    truth: tuple[str, ...]
    sources: tuple[Mapping[str, Any], ...]
    options: tuple[str, ...] = ()
    group: str = ""
    kind: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, which `of` reads."""
        return asdict(self)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Item:
        """From plain JSON."""
        listed = {name: tuple(told[name]) for name in ("truth", "sources", "options")}
        return cls(**{**told, **listed})


@dataclass(frozen=True)
class EvalTask:
    """A benchmark.

    Attributes:
        name: what it is asked for by.
        summary: one line.
        needs: the files below the data folder that it reads, in words.
        read: data folder -> rows, each the fields of an `Item`.
        prompt: the question as it is put, with ``{question}`` and ``{options}``.
        labels: what may be said, where several of a fixed list are right; empty where a question brings its options.
        published: name of a model -> metric -> figure in percent, as published on the whole test set.
        note: what is to be known when figures are compared.
    """

    name: str
    summary: str
    needs: str
    read: Callable[[Path], Sequence[Mapping[str, Any]]]
    prompt: str
    labels: tuple[Label, ...] = ()
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    note: str = ""

    def items(self, data: Path) -> list[Item]:
        """The questions.

        Raises:
            InputError: a file that it reads is missing or holds something else.
        """
        try:
            return [Item(**row) for row in self.read(data)]
        except FileNotFoundError as error:
            raise InputError(
                f"the task {self.name} reads {self.needs} below {data}, and {error.filename} is not there; give "
                "the folder that holds them with --data"
            ) from error

    def put(self, item: Item) -> str:
        """The question as the model is asked it."""
        return self.prompt.format(question=item.question, options=", ".join(item.options))

    def said(self, item: Item, text: str) -> Said | None:
        """What an answer says; None where it can't be read."""
        if self.labels:
            return parsers.labels(text, self.labels)
        return parsers.options(text, item.options)

    def scores(self, items: Sequence[Item], said: Sequence[Said | None]) -> Scores:
        """The figures of what was said."""
        truth, groups = [frozenset(item.truth) for item in items], [item.group or item.name for item in items]
        if self.labels:
            return multi_label(said, truth, [label.name for label in self.labels], groups=groups)
        return exact(said, truth, [len(item.options) for item in items], groups=groups)

    def scores_legacy(self, items: Sequence[Item], texts: Sequence[str]) -> dict[str, float]:
        """The figures that the public code would give; see `llava_ecg.eval.scorers_legacy`."""
        if not items:
            return {}
        if self.labels:
            names = [label.name for label in self.labels]
            said = [parsers_legacy.labels(text, names) for text in texts]
            return scorers_legacy.multi_label(said, [frozenset(item.truth) for item in items])
        right = [
            parsers_legacy.options_agree(text, self.put(item), ", ".join(item.truth))
            for item, text in zip(items, texts, strict=True)
        ]
        return {"accuracy": sum(right) / len(right)}


ptbxl_super = EvalTask(
    name="ptbxl_super",
    summary="PTB-XL superclasses, several may be right; the sample's fold 9",
    needs="ptbxl/labels.csv and ptbxl/signals_250hz_int16.npy",
    read=read_superclasses,
    prompt="{question}",
    labels=(
        Label("NORM", ("normal ECG",)),
        Label("MI", ("myocardial infarction",)),
        Label("STTC", ("ST/T change", "ST/T changes", "ST-T change", "ST-T changes")),
        Label("CD", ("conduction disturbance", "conduction disturbances")),
        Label("HYP", ("hypertrophy",)),
    ),
    published={
        "GEM (from LLaVA)": {"hard_auc": 81.8, "f1": 73.6, "hamming_loss": 11.6},
        "GEM (from PULSE)": {"hard_auc": 83.4, "f1": 75.8, "hamming_loss": 11.0},
        "PULSE": {"hard_auc": 82.4, "f1": 74.8, "hamming_loss": 11.0},
    },
    note="published on fold 10 (2,082 ECGs) with other prompts; these are a sample of fold 9, filtered and scaled",
)
ecgqa = EvalTask(
    name="ecgqa",
    summary="ECG-QA, the exact set of options; questions about the sample's fold 9",
    needs="ecgqa/*.json, ptbxl/labels.csv and ptbxl/signals_250hz_int16.npy",
    read=read_ecgqa,
    prompt="{question} Options: {options}",
    published={
        "GEM (from LLaVA)": {"accuracy": 71.0},
        "GEM (from PULSE)": {"accuracy": 73.6},
        "PULSE": {"accuracy": 73.8},
    },
    note="published on 1,317 questions of ECGBench of all kinds; these are the questions in the folder",
)


def chosen(names: str) -> list[EvalTask]:
    """The tasks of a list with commas, or ``all``.

    Raises:
        InputError: an unknown name, one twice, or none.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if wanted == ["all"]:
        wanted = list(plugins.tasks)
    if not wanted or len(set(wanted)) != len(wanted):
        raise InputError(f"--tasks {names!r} names no task, or one twice; llava-ecg eval --list shows them")
    found = [plugins.tasks.get(name) for name in wanted]
    for name, each in zip(wanted, found, strict=True):
        if not isinstance(each, EvalTask):
            raise InputError(
                f"the task {name!r} ({plugins.tasks.where(name)}) is a {type(each).__name__} and no EvalTask"
            )
    return [replace(each, name=name) for name, each in zip(wanted, found, strict=True)]
