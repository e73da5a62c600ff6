"""What a caller of `Processor` gives, in any of the shapes that it may have: questions and conversations as `Turn`s,
recordings and images as such. What can't be meant is refused in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.formats import Options, read
from llava_ecg.ecg.formats.reader import check_millivolts, millivolts_per
from llava_ecg.ecg.images import read_image
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}


def texts_of(text: Any) -> list[Any]:
    """The questions and conversations of a batch."""
    if isinstance(text, str):
        return [text]
    if not isinstance(text, (list, tuple)) or not text:
        raise InputError("a question is needed: text='Interpret this ECG.', a conversation, or a list of them")
    return [text] if isinstance(text[0], (Turn, Mapping)) else list(text)


def samples_of(texts: Sequence[Any], given: Mapping[str, Any]) -> int:
    """How many samples a batch has: a single text or source goes with all, lists have to be equally long."""
    sizes = {"text": len(texts)} | {
        name: len(value) for name, value in given.items() if isinstance(value, (list, tuple))
    }
    count = max(sizes.values())
    if set(sizes.values()) - {1, count} or 0 in sizes.values():
        said = ", ".join(f"{size} of {name}" for name, size in sizes.items())
        raise InputError(
            f"a batch of {said} does not fit together; give one source for each text, or a single one for all"
        )
    return count


def turns_of(text: Any) -> list[Turn]:
    """A question or conversation as turns that alternate, a user's first and last."""
    turns = (
        [Turn("user", text)]
        if isinstance(text, str)
        else [each if isinstance(each, Turn) else turn_of(each) for each in text]
    )
    if (
        not turns
        or any(turn.role != ("user", "assistant")[number % 2] for number, turn in enumerate(turns))
        or turns[-1].role != "user"
    ):
        raise InputError(
            "a conversation goes from user to assistant and ends with a user, and this is "
            f"{', '.join(t.role for t in turns)}"
        )
    return turns


def turn_of(message: Any) -> Turn:
    """One turn, as transformers' chat templates have it or as LLaVA's files do."""
    if not isinstance(message, Mapping) or message.get("role") not in _ROLES:
        raise InputError(
            f"a turn is {{'role': 'user' or 'assistant', 'content': text}}, and this is {str(message)[:80]!r}"
        )
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(
            part["text"] for part in content if isinstance(part, Mapping) and part.get("type") == "text"
        )
    if not isinstance(content, str):
        raise InputError(f"the content of a turn is text or a list of parts, and this is a {type(content).__name__}")
    return Turn("assistant" if _ROLES[message["role"]] == "assistant" else "user", content)


def places_of(columns: Mapping[str, Sequence[Any]], row: int) -> list[dict[str, Any]]:
    """What one text is about: its sources by stream; several places where one of its sources is a list."""
    given = {name: column[row % len(column)] for name, column in columns.items()}
    several = {name: list(each) if isinstance(each, (list, tuple)) else [each] for name, each in given.items()}
    count = max(map(len, several.values()), default=1)
    return [
        {name: each[number] for name, each in several.items() if number < len(each) and each[number] is not None}
        for number in range(count)
    ]


def recording_of(source: Any, options: Options) -> Recording | None:
    """A recording from what a caller has of it."""
    if source is None or isinstance(source, Recording):
        return source
    if isinstance(source, (str, Path)):
        return read(source, rate=options.rate, unit=options.unit, leads=options.leads)
    if not isinstance(source, (np.ndarray, torch.Tensor)):
        raise InputError(
            f"an ECG is given as a path, a Recording or an array of leads, and this is a {type(source).__name__}"
        )
    if options.rate is None:
        raise InputError("an array does not say how it was sampled; give rate=, in Hz")
    try:
        signal = np.asarray(source, dtype=np.float32) * np.float32(millivolts_per(options.unit or "mV") or 1)
    except (TypeError, ValueError) as error:
        raise InputError(f"the array holds no numbers ({error})") from error
    return check_millivolts(
        Recording(signal, float(options.rate), options.leads or STANDARD), Path("the array"), options
    )


def image_of(source: Any) -> Image.Image | None:
    """An image from its file, or as it was opened; how it is to be seen (turned, on white) its preparation knows."""
    if isinstance(source, (str, Path)):
        return read_image(Path(source))
    if source is not None and not isinstance(source, Image.Image):
        raise InputError(f"an image is given as a path or a PIL image, and this is a {type(source).__name__}")
    try:
        if source is not None:
            source.load()
    except (
        OSError,
        ValueError,
        SyntaxError,
        AssertionError,
    ) as error:  # opened without looking; here it is found damaged or closed
        raise InputError(
            f"the image can't be read ({error or 'its file is closed'}); give its path, or the image before its "
            "file is closed"
        ) from error
    return source
