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
from llava_ecg.model.opening import open_source


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
        image_newline: whether there is a learned row-end embedding; None: if a stream's tiles are merged with one. (PULSE has inherited
            one that it does not use.)
        origin: where the weights came from, if that was another layout: its ``config`` as it was filed and the name prefixes of what
            was taken from ``outside`` its folder, so that `llava_ecg.model.convert` can write that layout again.
    """

    model_type = "llava_ecg"

    def __init__(
        self,
        text_config: PretrainedConfig | Mapping[str, Any] | None = None,
        streams: Mapping[str, StreamConfig | Mapping[str, Any]] | None = None,
        template: str = "v1",
        base: str | None = None,
        model_max_length: int = 4096,
        image_newline: bool | None = None,
        origin: Mapping[str, Any] | None = None,
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
        merged = any(stream["preparation"].get("merge") == "spatial_unpad" for stream in self.streams.values())
        self.image_newline = merged if image_newline is None else image_newline
        self.origin = origin
        kwargs.setdefault("tie_word_embeddings", False)  # the language model ties its own
        super().__init__(**kwargs)

    def stream(self, name: str) -> StreamConfig:
        """The settings of one stream."""
        return StreamConfig.of(self.streams[name])

    def get_text_config(self, *args: Any, **kwargs: Any) -> PretrainedConfig:
        """The language model's config: what generation asks for its caches and vocabulary."""
        return self.text_config


class _ReleasedConfig(LlavaEcgConfig):
    """What transformers' AutoConfig makes of a released folder: a `LlavaEcgConfig`.

    The towers' shapes are not in those config files, so the folder's weights are looked at (headers only).
    """

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """A `LlavaEcgConfig` for a released config.json.

        Raises:
            InputError: the folder is not known (read it with ``AutoConfig.from_pretrained``), or not whole.
        """
        name = kwargs.pop("name_or_path", None) or config_dict.get("_name_or_path")
        if not name:
            raise InputError("a released config alone does not say what its towers are like; open its folder with from_pretrained")
        given = {key: kwargs.pop(key) for key in ("base", "ecg_tower", "vision_tower") if key in kwargs}  # for the model, and for us
        found = LlavaEcgConfig.from_dict(LlavaEcgConfig(**open_source(name, **given).config).to_dict(), **kwargs)
        if not kwargs.get("return_unused_kwargs"):
            return found
        config, unused = found
        return config, unused | given


class LlavaLlamaConfig(_ReleasedConfig):
    """LLaVA, PULSE and GEM on Llama or Vicuna."""

    model_type = "llava_llama"


class LlavaMistralConfig(_ReleasedConfig):
    """LLaVA-1.6 on Mistral."""

    model_type = "llava_mistral"


class LlavaQwenConfig(_ReleasedConfig):
    """GEM on Qwen2."""

    model_type = "llava_qwen"
