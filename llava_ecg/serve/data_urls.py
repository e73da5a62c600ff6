"""Files and images of a request, as they come: data URLs and base64. No address is fetched and no path opened."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from llava_ecg.serve.limits import Refused

READING = {
    "rate": (int, float),
    "unit": (str, int, float),
    "leads": (str, list),
    "start": (int, float),
    "seconds": (int, float),
    "missing_leads": (str,),
    "record": (str,),
}
"""What a file's part may say beside the file, as the flags of ``llava-ecg ask``, and which of several records it is."""


@dataclass(frozen=True)
class Attachment:
    """A file or image of a request.

    Attributes:
        name: of the file; empty for an image.
        content: its bytes.
        reading: how it is read, see `READING`; of files only.
        at: where in the request it stands.
    """

    name: str
    content: bytes
    reading: Mapping[str, Any] = field(default_factory=dict)
    at: str = ""

    @property
    def is_picture(self) -> bool:
        """Whether it is an image of a page."""
        return not self.name


def picture_of(given: Any, at: str) -> Attachment:
    """An ``image_url`` part.

    Raises:
        Refused: it is no data URL, or something else.
    """
    url = given.get("url") if isinstance(given, dict) else None
    if not isinstance(url, str) or set(given) - {"url", "detail"}:
        raise Refused(400, f'{at}.image_url takes {{"url": "data:image/png;base64,..."}}', at)
    if not url[:5].lower() == "data:":
        raise Refused(400, f"{at}: addresses are not fetched and paths not opened; send the image as a data URL", at)
    kind = url[5:].partition(",")[0].partition(";")[0].lower()
    if kind and not kind.startswith("image/"):
        raise Refused(400, f"{at}: an image_url holds an image and no {kind[:40]}; send an ECG as a file part", at)
    return Attachment("", decoded(url, at), at=at)


def file_of(given: Any, at: str) -> Attachment:
    """A ``file`` part, OpenAI's own, with `READING` beside.

    Raises:
        Refused: no data, a field that is not known, or one of the wrong type.
    """
    if not isinstance(given, dict) or not isinstance(given.get("file_data"), str):
        raise Refused(
            400, f"{at}.file takes a filename and file_data, a data URL or base64; stored files are not known", at
        )
    name = given.get("filename")
    if name is not None and not isinstance(name, str):
        raise Refused(400, f"{at}.file.filename is a text", at)
    reading = {}
    for key, value in given.items():
        if key in ("filename", "file_data") or value is None:
            continue
        if key not in READING:
            raise Refused(400, f"{at}.file has no {key[:40]!r}; beside the file there may be {', '.join(READING)}", at)
        if isinstance(value, bool) or not isinstance(value, READING[key]):
            raise Refused(400, f"{at}.file.{key} is of the wrong type", at)
        reading[key] = value
    return Attachment(_named(name or "unnamed", at), decoded(given["file_data"], at), reading, at)


def decoded(text: str, at: str) -> bytes:
    """The bytes of a data URL, or of base64 alone.

    Raises:
        Refused: neither, an address, or nothing in it.
    """
    scheme = text[:12].lower()
    if scheme.startswith(("http:", "https:", "file:", "ftp:")):
        raise Refused(400, f"{at}: addresses are not fetched and paths not opened; send the file as a data URL", at)
    plain = False
    if scheme.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or len(head) > 200:
            raise Refused(400, f"{at} is no data URL; it looks like data:TYPE;base64,DATA", at)
        plain = not head.lower().endswith(";base64")
    try:
        content = unquote_to_bytes(text) if plain else base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(400, f"{at} holds no base64 ({error}); send data:TYPE;base64,DATA", at) from error
    if not content:
        raise Refused(400, f"{at} is empty", at)
    return content


def _named(name: str, at: str) -> str:
    """The last part of a name: it becomes one file in a folder of its own, whatever it says of folders."""
    last = name.replace("\\", "/").rpartition("/")[2].strip()
    if not last or last.startswith(".") or not last.isprintable() or len(last.encode("utf-8", "replace")) > 150:
        raise Refused(400, f"{at}.file.filename is no plain name of a file with at most 150 letters", at)
    return last
