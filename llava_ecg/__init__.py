"""llava_ecg: language models that read ECGs and can be held to what they say. Research use, not a medical device.

Importing it costs nothing and tells transformers' Auto classes about our checkpoints (`llava_ecg.auto`). The public
names are fetched when they are first used::

    import llava_ecg

    checkpoint = llava_ecg.load("path/to/GEM", device="cuda")
"""

from __future__ import annotations

from typing import Any

from llava_ecg import auto

__version__ = "0.1.0"

_PUBLIC = {
    "InputError": "llava_ecg.errors:InputError",
    "Recording": "llava_ecg.ecg.recording:Recording",
    "read": "llava_ecg.ecg.formats:read",
    "render": "llava_ecg.ecg.render:render",
    "measure": "llava_ecg.ecg.measure:measure",
    "Measurements": "llava_ecg.ecg.measurements:Measurements",
    "Heart": "llava_ecg.ecg.simulated_heart:Heart",
    "simulate": "llava_ecg.ecg.simulate:simulate",
    "write": "llava_ecg.files:write_recording",
    "audit": "llava_ecg.grounding.audit:audit",
    "Audit": "llava_ecg.grounding.audit:Audit",
    "load": "llava_ecg.model.loading:load",
    "Assistant": "llava_ecg.assistant:Assistant",
    "Answer": "llava_ecg.asked:Answer",
    "Case": "llava_ecg.case:Case",
    "Decoding": "llava_ecg.case:Decoding",
    "Processor": "llava_ecg.processor:Processor",
    "Turn": "llava_ecg.data.conversation:Turn",
}
__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 (names of _PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, _, attribute = _PUBLIC[name].partition(":")
    globals()[name] = getattr(import_module(module), attribute)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


auto.install()
