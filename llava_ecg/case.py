"""What is asked about, and how an answer is chosen: the two things a question comes with. No torch is loaded for
them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.recording import Recording, check_recording
from llava_ecg.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Decoding:
    """How an answer is chosen, token by token.

    Attributes:
        temperature: 0 takes the likeliest token (greedy); above, tokens are drawn.
        top_p: drawn from the likeliest tokens that hold this share of the probability.
        max_new_tokens: an answer's longest length.
        seed: of the draws.
        top_k: drawn from so many of the likeliest tokens, before `top_p`; 0 for all.
        repetition_penalty: what scores of tokens that the answer has already are divided by (multiplied where
            negative); 1 for none.
        stop: texts that end the answer and are no part of it, beside the template's own; the first that comes does.
            Any sequence of texts; kept as a tuple.

    Raises:
        InputError: a number out of its range, or a stop that is no sequence of texts of at least one character.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0
    top_k: int = 0
    repetition_penalty: float = 1.0
    stop: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.max_new_tokens < 1:
            raise InputError(
                f"temperature {self.temperature}, top_p {self.top_p}, max_new_tokens {self.max_new_tokens}: "
                "need temperature >= 0, 0 < top_p <= 1 and at least one token"
            )
        if self.top_k < 0 or not self.repetition_penalty > 0:
            raise InputError(
                f"top_k {self.top_k}, repetition_penalty {self.repetition_penalty}: need top_k >= 0 (0 for all) and "
                "repetition_penalty > 0 (1 for none)"
            )
        if isinstance(self.stop, str) or not all(isinstance(text, str) and text for text in self.stop):
            raise InputError(
                f"stop is a sequence of texts of at least one character, such as stop=('END',), not {self.stop!r}"
            )
        object.__setattr__(self, "stop", tuple(self.stop))  # frozen, and hashable also where a list was given


@dataclass(frozen=True)
class Case:
    """What is asked about. Measured and rendered once, when first needed.

    Attributes:
        recording, image: an ECG and the image of its page, either or both.
        more: further ones that the same question is about; each is shown at a place of its own. Then no claim can be
            held against a signal, since nothing says which of them it is about.
        inputs: sources of other streams that a model may have, by the stream's name, as its preparer takes them. They
            are shown to the model; nothing is measured on them.

    Raises:
        InputError: a path, or something else that is no recording, where a recording or an image is wanted.
    """

    recording: Recording | None = None
    image: Image | None = None
    more: tuple[Case, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.recording is not None:
            check_recording(self.recording, "a Case")
        if isinstance(self.image, str | bytes | PathLike):
            raise InputError(
                f"a Case takes an image of Pillow, not {ascii(str(self.image))}; read it with "
                "llava_ecg.ecg.images.read_image"
            )
        if twice := [name for name in ("ecg", "image") if name in self.inputs]:
            raise InputError(f"a Case has a place of its own for {twice[0]!r}, which is not among its inputs")

    @cached_property
    def measurements(self) -> Measurements | None:
        """Of the recording; None without one."""
        return None if self.recording is None else measure(self.recording)

    def with_inputs(self, inputs: Mapping[str, Any], more: Sequence[Case] | None = None) -> Case:
        """The same with these `inputs`, and with other further ones where `more` are given; what was measured or drawn
        stays so."""
        made = replace(self, inputs=dict(inputs), more=self.more if more is None else tuple(more))
        vars(made).update({name: vars(self)[name] for name in ("measurements", "page", "_parts") if name in vars(self)})
        return made

    def within(self, shown: tuple[float, float] | None) -> Measurements | None:
        """The measurements from and to a second of the recording; of all of it where that is what was shown, or not
        known."""
        if self.recording is None or shown is None or (shown[0] <= 0 and shown[1] >= self.recording.duration - 0.05):
            return self.measurements
        if shown not in self._parts:
            self._parts[shown] = measure(self.recording.window(shown[0], shown[1] - shown[0]))
        return self._parts[shown]

    @cached_property
    def _parts(self) -> dict[tuple[float, float], Measurements]:
        return {}

    @cached_property
    def page(self) -> Image | None:
        """The given image, else the recording rendered as a page; None without either."""
        if self.image is not None or self.recording is None:
            return self.image
        from llava_ecg.ecg.render import render  # brings Pillow, which a measurement does without

        return render(self.recording)

    def sources(self, derive: bool = True) -> dict[str, Any]:
        """Stream name -> source, for the streams that this case can feed; without `derive` what was given and no page
        drawn from it."""
        page = self.page if derive else self.image
        own = (("ecg", self.recording), ("image", page))
        return {name: source for name, source in own if source is not None} | dict(self.inputs)
