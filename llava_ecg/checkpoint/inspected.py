"""What `inspect` finds in a checkpoint: parts, files and what is to be said of them, as text and as JSON. Imports no
torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint.fit import Fit
from llava_ecg.checkpoint.listing import aligned, listed, size
from llava_ecg.checkpoint.towers.facts import plain, shown
from llava_ecg.checkpoint.words import Stream

LAYOUTS = {
    "llava": "a model in the layout of the released LLaVA, PULSE and GEM",
    "lora": "a LoRA in LLaVA's layout, over another model",
    "projectors": "projectors alone, as LLaVA's first stage leaves them, over another model",
    "ours": "a model in llava_ecg's own layout, whole",
    "ours over a base": "a model in llava_ecg's own layout, over the language model of another",
    "language model": "a language model alone",
    "tower": "an encoder alone",
}
FROZEN, TRAINED, MERGED = "frozen", "trained", "merged"


@dataclass(frozen=True)
class Part:
    """One part of a model.

    Attributes:
        name: as in the model: ``language_model``, ``towers.ecg``, ``projectors.ecg``, ``image_newline``; ``lora.`` and
            a part's name for the LoRA of that part.
        title: the same for a person.
        kind: ``llama``, ``ecg_coca``, ``linear``, ``rank 8``, ...
        tensors: how many it has in the files.
        parameters: how many these hold; of a part that is in no file, how many it will have.
        dtypes: torch's name -> parameters in it.
        size: bytes.
        where: file or folder, relative to the checkpoint's folder where it lies in there.
        tuning: ``frozen`` or ``trained`` when the model is fine-tuned without further flags; ``merged`` for a LoRA,
            which is then added into its weights (``--lora_enable`` keeps the language model frozen and goes on with its
            LoRA).
        ranks: of a LoRA.
    """

    name: str
    title: str
    kind: str
    tensors: int
    parameters: int
    dtypes: dict[str, int]
    size: int
    where: str
    tuning: str
    ranks: tuple[int, ...] = ()

    @property
    def dtype(self) -> str:
        """``bfloat16``, or ``bfloat16 + float32`` with the commoner first."""
        return " + ".join(sorted(self.dtypes, key=lambda name: -self.dtypes[name]))


@dataclass(frozen=True)
class File:
    """A weight file: ``safetensors`` or ``pickle``; `refused` is what it asks for beyond tensors, so that it wants
    --trust-pickle."""

    path: Path
    format: str
    size: int
    refused: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What `inspect` found.

    Attributes:
        name: what it was asked for by.
        layout: a key of `LAYOUTS`.
        folder: folder, or file of a tower.
        base: the model that it stands on; empty where it is whole.
        tokenizer: folder of its tokenizer.
        template: of the chat; None for a tower alone, as is `longest`, in tokens.
        parts, streams, files: as they say.
        fit: missing, left over, mis-shaped; None where only the model itself, once built, could tell (a plug-in's
            parts).
        left_over: names that no model of ours has, known even then.
        fresh: parts that are in no file and start untrained.
        unused: how many tensors of a tower's files are not the tower's.
        computed: how many buffers the files hold that are no weights, since they are computed when a model is built.
        absent: stream -> why its tower, which lies elsewhere, is not here.
        notes: what a user should know about how its parts came together.
        untold: why nothing can be asked: no tokenizer, or one whose files are damaged; None if nothing is wrong with
            it.
    """

    name: str
    layout: str
    folder: Path
    base: str
    tokenizer: Path | None
    template: str | None
    longest: int | None
    parts: tuple[Part, ...]
    streams: dict[str, Stream]
    files: tuple[File, ...]
    fit: Fit | None
    left_over: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: int = 0
    computed: int = 0
    absent: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    untold: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        parts = [
            {
                "name": part.name,
                "kind": part.kind,
                "tensors": part.tensors,
                "parameters": part.parameters,
                "dtypes": part.dtypes,
            }
            | {"bytes": part.size, "where": part.where, "fine_tuning": part.tuning}
            | ({"ranks": list(part.ranks)} if part.ranks else {})
            for part in self.parts
        ]
        streams = {
            name: stream.settings
            | {
                "width": stream.width,
                "tokens": stream.tokens,
                "words": list(stream.words),
                "warnings": list(stream.warnings),
            }
            for name, stream in self.streams.items()
        }
        files = [
            {"path": str(f.path), "format": f.format, "bytes": f.size, "refused": list(f.refused)} for f in self.files
        ]
        found = self.fit
        return {
            "name": self.name,
            "layout": self.layout,
            "description": LAYOUTS[self.layout],
            "folder": str(self.folder),
            "base": self.base or None,
            "files": files,
            "tokenizer": None if self.tokenizer is None else str(self.tokenizer),
            "template": plain(self.template),
            "model_max_length": plain(self.longest),
            "parts": parts,
            "parameters": sum(part.parameters for part in self.parts),
            "bytes": sum(part.size for part in self.parts),
            "streams": plain(streams),
            "complete": None if found is None else not found.phrases and not self.absent and not self.untold,
            "missing": None if found is None else list(found.missing),
            "left_over": list(self.left_over if found is None else found.left_over),
            "mis_shaped": None if found is None else list(found.mis_shaped),
            "untrained": list(self.fresh),
            "absent": dict(self.absent),
            "notes": [*([self.untold] if self.untold else []), *self.notes],
            "unused": self.unused,
            "computed": self.computed,
        }

    def lines(self) -> list[str]:
        """The same for a person; of long lists the beginning."""
        return [
            f"{self.name}: {LAYOUTS[self.layout]}",
            "",
            *self._head(),
            "",
            *self._table(),
            *self._preparation(),
            "",
            *self._weights(),
        ]

    def _head(self) -> list[str]:
        formats = Counter(file.format for file in self.files)
        files = " and ".join(f"{count} {kind} file{'s' * (count > 1)}" for kind, count in formats.items())
        rows = [("file" if self.folder.is_file() else "folder", str(self.folder))]
        rows += [("stands on", self.base)] if self.base else []
        rows.append(("weights", f"{files}, {size(sum(file.size for file in self.files))}"))
        if self.layout != "tower":
            inside = "in the folder" if self.tokenizer == self.folder else str(self.tokenizer)
            rows.append(("tokenizer", "missing" if self.tokenizer is None else inside))
            rows += [("template", shown(self.template)), ("sequence", f"at most {shown(self.longest)} tokens")]
        for file in self.files:
            if file.refused:
                asked = ", ".join(file.refused[:3]) + (
                    f" and {len(file.refused) - 3} more" if len(file.refused) > 3 else ""
                )
                rows.append(("trust", f"{file.path.name} asks for {asked} when it is opened: it wants --trust-pickle"))
        return [f"  {label:<9}  {value}" for label, value in rows]

    def _table(self) -> list[str]:
        head = ("part", "kind", "parameters", "dtype", "size", "fine-tuning", "where")
        rows = [
            (p.title, p.kind, f"{p.parameters:,}", p.dtype or "-", size(p.size), p.tuning, p.where) for p in self.parts
        ]
        total = (
            "total",
            "",
            f"{sum(p.parameters for p in self.parts):,}",
            "",
            size(sum(p.size for p in self.parts)),
            "",
            "",
        )
        notes = ["  fine-tuning: what python -m llava_ecg.train does without further flags"]
        if any(part.tuning == FROZEN for part in self.parts):
            notes[0] += "; --unfreeze_ecg_tower and --unfreeze_vision_tower train a tower too"
        if any(part.tuning == MERGED for part in self.parts):
            notes.append(
                "  merged: added into its weights; --lora_enable keeps the language model frozen and goes on with "
                "its LoRA"
            )
        return [*aligned([head, *rows, *([total] if len(rows) > 1 else [])], right=(2, 4)), *notes]

    def _preparation(self) -> list[str]:
        usual = " (where a model does not say otherwise)" if self.layout == "tower" else ""
        lines = ["", f"preparation{usual}"] if self.streams else []
        wide = max((len(name) for name in self.streams), default=0)
        for name, stream in self.streams.items():
            phrases = [*stream.words, *(f"warning: {warning}" for warning in stream.warnings)]
            lines += [f"  {name if at == 0 else '':<{wide}}  {phrase}" for at, phrase in enumerate(phrases)]
        return lines

    def _weights(self) -> list[str]:
        lines = [f"not here: {why}" for why in self.absent.values()]
        lines += [f"tokenizer: {self.untold}"] if self.untold else []
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"untrained: {part} is in no file and begins at random" for part in self.fresh]
        lines += [f"unused: {self.unused:,} other tensors that lie in the files"] if self.unused else []
        lines += (
            [f"passed over: {self.computed:,} buffers of the files that are computed and no weights"]
            if self.computed
            else []
        )
        found = self.fit
        if found is None:
            lines.append("missing or left over: can't be told without building it, since a part of it is a plug-in's")
            return lines + listed("left over", self.left_over)
        if not found.phrases:
            other = "other " if self.fresh else ""
            but = "apart from that " if self.absent or self.untold else ""
            return [*lines, f"{but}complete: every tensor has its place, and every {other}place its tensor"]
        lists = (("missing", found.missing), ("left over", found.left_over), ("mis-shaped", found.mis_shaped))
        return lines + [line for label, names in lists for line in listed(label, names)]
