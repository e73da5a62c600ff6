"""What transformers' AutoConfig makes of the folders that GEM, PULSE and LLaVA were released as: a `LlavaEcgConfig`."""

from __future__ import annotations

from typing import Any

from llava_ecg.checkpoint.opening import open_source
from llava_ecg.errors import InputError
from llava_ecg.model.config import LlavaEcgConfig


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
            raise InputError(
                "a released config alone does not say what its towers are like; open its folder with from_pretrained"
            )
        given = {
            key: kwargs.pop(key) for key in ("base", "ecg_tower", "vision_tower") if key in kwargs
        }  # for the model, and for us
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
