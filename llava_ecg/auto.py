"""After ``import llava_ecg``, transformers' Auto classes open our checkpoints, whichever of the two packages is
imported first.

Nothing is imported for that: a finder on ``sys.meta_path`` waits for the four modules that define the Auto classes, and
for the two that define our configs, and `register` runs right after each has been executed. What transformers is told
about are classes that stand in for ours and fetch them when a checkpoint of ours is really met; so ``import llava_ecg``
stays light, and no import made in the middle of another can run in a circle.

The model types are ours and those that GEM, PULSE and LLaVA were released under, but for ``llava``: that is
transformers' own, and other programs rely on it, though LLaVA's first releases say it too. Those open with
`llava_ecg.load` and with the class itself. Where another package registers one of these types too, the one that
registered last has it, as always in transformers.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any

_AUTO = "transformers.models.auto."
CONFIG_MODULE, RELEASED_CONFIGS = "llava_ecg.model.config", "llava_ecg.model.released_configs"


def register() -> None:
    """Tell each Auto class that is loaded by now about each of our configs: its stand-in, or itself once it is loaded.
    Repeatable."""
    auto_config = _loaded(_AUTO + "configuration_auto", "AutoConfig")
    if auto_config is None:
        return
    for model_type, stand_in in CONFIGS.items():
        config = _loaded(stand_in.module, stand_in.name)
        auto_config.register(model_type, config or stand_in, exist_ok=True)
        if config is not None:
            for (module, name), value in VALUES.items():
                auto = _loaded(_AUTO + module, name)
                if auto is not None:
                    auto.register(config, value, exist_ok=True)


def install() -> None:
    """Register with what is loaded, and with what will be. Once is enough; again, or after a reload of this module,
    does no harm."""
    stale = [finder for finder in sys.meta_path if _is_ours(finder)]
    sys.meta_path.insert(0, Finder())
    for finder in stale:
        sys.meta_path.remove(finder)
    for name in WATCHED:
        if name in sys.modules:
            import_module(
                name
            )  # waits where another thread is still executing it: its import began before our finder stood there
    _register_or_warn()


class Finder:
    """Finds the modules of `WATCHED` where they are found anyway, and has `register` run after each; any other import
    passes by."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> Any:
        """The module's spec as the other finders give it, its loader wrapped; None for a module that is not watched."""
        if name not in WATCHED:
            return None
        for finder in list(sys.meta_path):
            spec: Any = (
                None if _is_ours(finder) or not hasattr(finder, "find_spec") else finder.find_spec(name, path, target)
            )
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader:
    """A module's own loader, with `register` behind it. The module itself keeps no trace of this one."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)  # what inspect, pkgutil and importlib.resources ask of a loader

    def create_module(self, spec: Any) -> ModuleType | None:
        module: ModuleType | None = self._own.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        module.__loader__ = self._own
        self._own.exec_module(module)
        _register_or_warn()


def _register_or_warn() -> None:
    """An error of ours must not stop the import of transformers, nor pass unseen."""
    try:
        register()
    except Exception as error:
        told = f"llava_ecg could not tell transformers about its checkpoints ({type(error).__name__}: {error})"
        warnings.warn(f"{told}; they open with llava_ecg.load all the same", RuntimeWarning, stacklevel=2)


def _is_ours(finder: Any) -> bool:
    """By name, since a reload of this module makes another class of it."""
    return (type(finder).__module__, type(finder).__qualname__) == (__name__, "Finder")


def _loaded(module: str, name: str) -> Any:
    """What has this name in a module, if that is loaded and has come as far; else None."""
    found = sys.modules.get(module)
    return None if found is None else vars(found).get(name)


# -- stand-ins ---------------------------------------------------------------------------------------------------------


class _Config:
    """For a config's class, which is registered in place of its stand-in as soon as its module is loaded."""

    module, name = CONFIG_MODULE, ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(cls.module), cls.name)(*args, **kwargs)

    @classmethod
    def from_dict(cls, values: dict[str, Any], **kwargs: Any) -> Any:
        """What AutoConfig.from_pretrained calls."""
        return getattr(import_module(cls.module), cls.name).from_dict(values, **kwargs)


class OurConfig(_Config):
    """Our own layout."""

    name = "LlavaEcgConfig"


class LlamaConfig(_Config):
    """GEM, PULSE and LLaVA over Llama or Vicuna."""

    module, name = RELEASED_CONFIGS, "LlavaLlamaConfig"


class MistralConfig(_Config):
    """LLaVA-1.6 over Mistral."""

    module, name = RELEASED_CONFIGS, "LlavaMistralConfig"


class QwenConfig(_Config):
    """GEM and LLaVA over Qwen2."""

    module, name = RELEASED_CONFIGS, "LlavaQwenConfig"


class Model:
    """For `llava_ecg.model.llava.LlavaEcgForCausalLM`."""

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """What AutoModelForCausalLM.from_pretrained calls."""
        return import_module("llava_ecg.model.llava").LlavaEcgForCausalLM.from_pretrained(*args, **kwargs)

    @classmethod
    def _from_config(cls, *args: Any, **kwargs: Any) -> Any:
        return import_module("llava_ecg.model.llava").LlavaEcgForCausalLM._from_config(*args, **kwargs)


class Tokenizer:
    """For `llava_ecg.processor.load_tokenizer`, where a folder does not name its tokenizer's class; most do, and need
    none of ours."""

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """What AutoTokenizer.from_pretrained calls."""
        return import_module("llava_ecg.processor").load_tokenizer(*args, **kwargs)


class Processor:
    """For `llava_ecg.processor.Processor`."""

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """What AutoProcessor.from_pretrained calls."""
        return import_module("llava_ecg.processor").Processor.from_pretrained(*args, **kwargs)


CONFIGS = {
    "llava_ecg": OurConfig,
    "llava_llama": LlamaConfig,
    "llava_mistral": MistralConfig,
    "llava_qwen": QwenConfig,
}
VALUES: dict[tuple[str, str], type] = {
    ("modeling_auto", "AutoModelForCausalLM"): Model,
    ("tokenization_auto", "AutoTokenizer"): Tokenizer,
    ("processing_auto", "AutoProcessor"): Processor,
}
WATCHED = (CONFIG_MODULE, RELEASED_CONFIGS, _AUTO + "configuration_auto", *(_AUTO + module for module, _ in VALUES))
