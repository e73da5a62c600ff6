"""`LlavaEcgConfig`: the language model's config, and for each stream its tower, its projector and its preparation.

Everything that decides how an input is prepared is in here, so that training, benchmark and chat do the same, and a saved model
remembers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from llava_ecg.errors import InputError


@dataclass
class StreamConfig:
    """One input beside the text.

    Attributes:
        tower: its encoder's name (``llava-ecg list towers``).
        tower_config: the arguments of that tower's constructor.
        projector: ``linear``, ``mlp2x_gelu``, ``identity``, ...
        through: the stream whose projector follows this one's, or None (GEM: the ECG features are brought to the image tower's width
            and then pass the image's projector).
        preparation: the arguments of the tower's preparer.
    """

    tower: str
    tower_config: dict[str, Any] = field(default_factory=dict)
    projector: str = "linear"
    through: str | None = None
    preparation: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, values: StreamConfig | Mapping[str, Any]) -> StreamConfig:
        """From a plain dict.

        Raises:
            InputError: a key that a stream does not have.
        """
        if isinstance(values, StreamConfig):
            return values
        known = [item.name for item in fields(cls)]
        unknown = [key for key in values if key not in known]
        if unknown:
            raise InputError(f"a stream has no setting {', '.join(map(repr, unknown))}; it has {', '.join(known)}")
        if "tower" not in values:
            raise InputError("a stream needs a tower; llava-ecg list towers names them")
        return cls(**values)


class LlavaEcgConfig(PretrainedConfig):
    """Configuration of `LlavaEcgForCausalLM`.

    Args:
        text_config: of the language model, a transformers config or its dict.
        streams: name -> `StreamConfig` (or its dict), in the order in which they stand at a marker.
        template: chat template the weights were trained with.
        base: the language model that the folder does not hold: a name for ``llava-ecg fetch``, or a path; None if it is inside.
        model_max_length: longest sequence in tokens.
    """

    model_type = "llava_ecg"

    def __init__(
        self,
        text_config: PretrainedConfig | Mapping[str, Any] | None = None,
        streams: Mapping[str, StreamConfig | Mapping[str, Any]] | None = None,
        template: str = "v1",
        base: str | None = None,
        model_max_length: int = 4096,
        **kwargs: Any,
    ) -> None:
        if not isinstance(text_config, PretrainedConfig):
            values = dict(text_config or {"model_type": "llama"})
            text_config = AutoConfig.for_model(values.pop("model_type"), **values)
        self.text_config = text_config
        self.streams = {name: asdict(StreamConfig.of(stream)) for name, stream in (streams or {}).items()}
        self.template = template
        self.base = base
        self.model_max_length = model_max_length
        kwargs.setdefault("tie_word_embeddings", False)  # the language model ties its own
        super().__init__(**kwargs)

    def stream(self, name: str) -> StreamConfig:
        """The settings of one stream."""
        return StreamConfig.of(self.streams[name])

    def get_text_config(self, *args: Any, **kwargs: Any) -> PretrainedConfig:
        """The language model's config: what generation asks for its caches and vocabulary."""
        return self.text_config
