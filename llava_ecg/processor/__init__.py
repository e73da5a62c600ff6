"""`Processor`: a question and its sources -> what a model takes. `Assistant` uses it, and transformers' AutoProcessor
gives it out.

::

    processor = AutoProcessor.from_pretrained("path/to/GEM")  # or llava_ecg.Processor.from_pretrained
    model = AutoModelForCausalLM.from_pretrained("path/to/GEM")
    inputs = processor(text="What is the rhythm?", ecg="patient.hea", images="page.png", return_tensors="pt")
    print(processor.batch_decode(model.generate(**inputs.to(model.device)), skip_special_tokens=True)[0])

How each source is prepared, and the chat template, are the checkpoint's own.

Axes: B batch, S sequence, L leads, T samples, N tower tokens of the batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import BatchFeature

from llava_ecg.checkpoint.opening import open_source
from llava_ecg.checkpoint.source import Source
from llava_ecg.checkpoint.tokenizer import tokenizer_of_source
from llava_ecg.data.batch import pad
from llava_ecg.data.conversation import MARKER, Turn
from llava_ecg.data.encode import Encoded
from llava_ecg.data.encoder import Encoder, Kept, marked, notes_of
from llava_ecg.data.templates import Template
from llava_ecg.ecg.formats import Options
from llava_ecg.errors import InputError
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.model.towers.tower import preparers
from llava_ecg.plugins import templates
from llava_ecg.processor.given import image_of, places_of, recording_of, samples_of, texts_of, turns_of
from llava_ecg.streams import Preparer

_KEPT = 8
_AS_IT_IS = Template(system="", first_user="{}", user="{}", answer="{}", stop="")
_NOT_A_TOKENIZERS = ("_from_auto", "_commit_hash", "revision", "code_revision", "trust_remote_code")


class Inputs(BatchFeature):
    """What a `Processor` returns: a mapping, to be passed as ``model.generate(**inputs)`` or ``model(**inputs)``."""

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Inputs:
        """All tensors moved, those of the streams too (transformers' own does not look into them); `dtype` for floating
        ones."""
        self.data = _to(self.data, device, dtype)
        return self


@dataclass
class Processor:
    """Makes a model's inputs.

    Attributes:
        tokenizer: a fast transformers tokenizer.
        template_name: of the chat template, in `llava_ecg.plugins.templates`.
        preparers: stream name -> what makes its values from a source, in the model's order of streams.
        model_max_length: the longest sequence, in tokens, that the model reads.
        name: what the model was asked for by, for messages.
        template: the chat template.
        derive: whether what a question lacks is derived, as in `LlavaEcgConfig`.
        encoder: what makes the joint sequence.
    """

    tokenizer: Any
    template_name: str
    preparers: Mapping[str, Preparer]
    model_max_length: int = 4096
    name: str = ""
    template: Template = field(init=False)
    derive: bool = True
    encoder: Encoder = field(init=False, repr=False)
    _kept: Kept = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.template = templates.get(self.template_name)
        self.encoder = Encoder(self.template, self.tokenizer, self.preparers, self.derive)

    @classmethod
    def of(
        cls, config: LlavaEcgConfig, tokenizer: Any, name: str = "", towers: Mapping[str, Any] | None = None
    ) -> Processor:
        """A model's processor. No weights are needed: without `towers` (the model's own) they are built on the meta
        device."""
        return cls(tokenizer, config.template, preparers(config, towers), config.model_max_length, name, config.derive)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        base: str | Path | None = None,
        ecg_tower: str | Path | None = None,
        vision_tower: str | Path | None = None,
        template: str | None = None,
        preparation: Mapping[str, Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> Processor:
        """The processor of a checkpoint of any layout, by path, embedded name or hub id.

        Args:
            name: as `llava_ecg.load` takes it; only headers of the weights are read.
            base, ecg_tower, vision_tower, template, preparation: as there.
            kwargs: for the tokenizer.

        Raises:
            InputError: no such checkpoint, or one without a tokenizer.
        """
        source = open_source(
            _at(name, kwargs),
            base=base,
            ecg_tower=ecg_tower,
            vision_tower=vision_tower,
            template=template,
            preparation=preparation,
        )
        return cls.of(LlavaEcgConfig(**source.config), _tokenizer(source, **kwargs), source.name)

    def save_pretrained(self, folder: str | Path, **kwargs: Any) -> None:
        """The tokenizer's files. The rest of a processor is in the model's config, which the model saves."""
        self.tokenizer.save_pretrained(folder, **kwargs)

    @property
    def pad_id(self) -> int:
        """The id that fills up a batch, and stands at the places of tower tokens."""
        pad_id, end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        return int(pad_id if pad_id is not None else end if end is not None else 0)

    def __call__(
        self,
        text: str | Sequence[Any] | None = None,
        *,
        ecg: Any = None,
        images: Any = None,
        rate: float | None = None,
        unit: str | float | None = None,
        leads: str | Sequence[str] | None = None,
        return_tensors: str = "pt",
        padding: bool | str = True,
        **streams: Any,
    ) -> Inputs:
        """A batch, ready for ``model.generate``.

        Args:
            text: a question, or a conversation (a list of `Turn` or of ``{"role", "content"}``) that ends with one; or
                a list of either. The template is applied to it, unless `apply_chat_template` has done so.
            ecg: what it is about: a path, a `Recording`, or an array [L, T] with its `rate`; or a list with one for
                each text, None where there is none. A single one goes with every text, a single text with every source.
                A list within the list: several that one text is about, each with its image.
            images: of the page, in the same way: a path or a PIL image. A model that sees images and is given the ECG
                alone gets the page drawn.
            rate, unit, leads: of arrays, and of files that do not say; as `llava_ecg.ecg.formats.read` takes them. An
                array is in mV and has the standard leads, if nothing is said.
            return_tensors: ``pt``; there is no other.
            padding: a batch is always padded to its longest, on the left.
            streams: sources of the model's other streams, by name.

        Returns:
            input_ids, position_ids int64 [B, S]; attention_mask bool [B, S]; slots int8 [B, S] (0 text, k the model's
            k-th stream);
            streams: name -> {values [n, ...], index int64 [N]}.

        Raises:
            InputError: nothing the model can see, numbers that do not fit, a file that can't be read, or more tokens
                than it reads.
        """
        if return_tensors != "pt" or padding not in (True, "longest"):
            raise InputError(
                "inputs come as return_tensors='pt' and with padding=True only: that is what the model takes"
            )
        texts = texts_of(text)
        given = {name: value for name, value in {"ecg": ecg, "image": images, **streams}.items() if value is not None}
        count = samples_of(texts, given)
        options = Options.of(rate, unit, leads)
        columns = {name: self._column(name, value, options) for name, value in given.items()}
        rows = [places_of(columns, row) for row in range(max(map(len, columns.values()), default=1))]
        kept: Kept = {}
        encoded = [self._encode(texts[row % len(texts)], rows[row % len(rows)], kept) for row in range(count)]
        for note in dict.fromkeys(note for _, notes in encoded for note in notes):
            warnings.warn(note, stacklevel=2)
        for sample, _ in encoded:
            self.room(sample)
        batch = pad([sample for sample, _ in encoded], self.pad_id, side="left")
        del batch["labels"]
        return Inputs(batch)

    def encode(self, turns: Sequence[Turn], *places: Mapping[str, Any]) -> tuple[Encoded, list[str]]:
        """The joint sequence of a conversation, and what a user should know about how its sources were prepared.

        Each source is prepared once; the last few are kept, for the turns of a chat.

        Args:
            turns: alternating, a user's first and last.
            places: what the question is about, each as stream name -> source (a `Recording`, a PIL image); sources that
                the model has no stream for are left out, and what its streams make of the others is shown too.

        Raises:
            InputError: the model can't see any of them, or one can't be prepared.
        """
        encoded = self._encode(turns, places, self._kept)
        while len(self._kept) > _KEPT:
            self._kept.pop(next(iter(self._kept)))
        return encoded

    def room(self, sample: Encoded) -> int:
        """How many tokens are left for an answer.

        Raises:
            InputError: none.
        """
        room = self.model_max_length - len(sample)
        if room < 1:
            raise InputError(
                f"the conversation has {len(sample)} tokens and the model reads {self.model_max_length}; "
                "ask less at once or start a new conversation"
            )
        return room

    def apply_chat_template(
        self, conversation: Sequence[Any], *, tokenize: bool = False, add_generation_prompt: bool = True, **kwargs: Any
    ) -> Any:
        """The prompt of a conversation, with one marker where its ECG and image will stand; it may be passed on as
        ``text``.

        Args:
            conversation: as ``text`` takes it; what its content says of images is left out, the sources come with the
                call.
            tokenize: True returns `Inputs`, of this conversation and the sources in `kwargs`.
            add_generation_prompt: the answer's beginning is always there, as these templates write it with the
                question.
        """
        if tokenize:
            return self(conversation, **{name: value for name, value in kwargs.items() if name != "return_dict"})
        if not add_generation_prompt or kwargs:
            raise InputError(
                "a prompt ends where its answer begins, and is text: call the processor itself to add sources"
            )
        return self.template.prompt(marked(turns_of(conversation)))

    def decode(self, *args: Any, **kwargs: Any) -> str:
        """The tokenizer's."""
        text: str = self.tokenizer.decode(*args, **kwargs)
        return text

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """The tokenizer's."""
        lines: list[str] = self.tokenizer.batch_decode(*args, **kwargs)
        return lines

    def _encode(self, text: Any, places: Sequence[Mapping[str, Any]], kept: Kept) -> tuple[Encoded, list[str]]:
        shown = [self.encoder.shown(place) for place in places]
        for place, seen in zip(places, shown, strict=True):
            if not seen:
                model, streams = f"the model {self.name}".rstrip(), ", ".join(self.preparers) or "text only"
                raise InputError(f"{model} takes {streams}, and the question came with {', '.join(place) or 'nothing'}")
        begin = (self.template.system + self.template.first_user).partition("{}")[0]
        if isinstance(text, str) and begin and text.startswith(begin) and text.count(MARKER) == len(places):
            written = replace(self.encoder, template=_AS_IT_IS)  # what apply_chat_template wrote
            sample = written.sample([Turn("user", text)], shown, kept=kept)
        else:
            sample = self.encoder.sample(marked(turns_of(text), len(places)), shown, kept=kept)
        return sample, notes_of(sample)

    def _column(self, name: str, value: Any, options: Options) -> list[Any]:
        """The sources of one stream, read: one for each text, or a single one for all."""
        if name not in ("ecg", "image") and name not in self.preparers:
            known = ", ".join(self.preparers) or "none"
            raise InputError(f"the model {self.name} has no stream {name!r}; its streams are {known}")
        each = list(value) if isinstance(value, (list, tuple)) else [value]
        return [
            [self._source(name, one, options) for one in of]
            if isinstance(of, (list, tuple))
            else self._source(name, of, options)
            for of in each
        ]

    def _source(self, name: str, source: Any, options: Options) -> Any:
        if name == "ecg":
            return recording_of(source, options)
        if name == "image":
            return image_of(source)
        return self.preparers[name].read(Path(source)) if isinstance(source, (str, Path)) else source


def load_tokenizer(name: str | Path, *inputs: Any, **kwargs: Any) -> Any:
    """The tokenizer of a checkpoint that does not name its class, or that leaves the tokenizer to its base: what
    AutoTokenizer asks.

    Raises:
        InputError: no such checkpoint, or one without a tokenizer.
    """
    source = open_source(_at(name, kwargs))
    if source.tokenizer == source.folder:
        kwargs["config"] = LlavaEcgConfig(
            **source.config
        ).text_config  # opened as its language model's kind; we would be asked again
    return _tokenizer(source, *inputs, **kwargs)


def _tokenizer(source: Source, *inputs: Any, **kwargs: Any) -> Any:
    """The tokenizer of a source, with the arguments that are meant for it."""
    return tokenizer_of_source(
        source, *inputs, **{key: value for key, value in kwargs.items() if key not in _NOT_A_TOKENIZERS}
    )


def _at(name: str | Path, kwargs: Mapping[str, Any]) -> str | Path:
    """A hub id with the revision that transformers' Auto classes pass beside it."""
    revision = kwargs.get("revision")
    known = revision in (None, "main") or "@" in str(name) or Path(name).exists()
    return name if known else f"{name}@{revision}"


def _to(value: Any, device: Any, dtype: torch.dtype | None) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device=device, dtype=dtype if value.is_floating_point() else None)
    return {name: _to(item, device, dtype) for name, item in value.items()} if isinstance(value, Mapping) else value
