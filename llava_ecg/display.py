"""What a file, a model or a measurement says, made fit to be shown: without what steers a terminal, and as HTML.

The pieces that reports (`llava_ecg.document`) and the displays of a notebook are made of. Nothing here knows what an
ECG is: `llava_ecg.ecg.displayed` and `llava_ecg.grounding.displayed` say what is shown of which object.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

RESEARCH_USE = "Research use only; not a medical device."

# C0 but tab and line end, DEL, C1, line and paragraph separators, and what turns the direction of text around
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_STYLE = Path(__file__).with_suffix(".css")


def printable(text: str) -> str:
    r"""The text with what would steer a terminal or turn its writing around shown as ``\x1b`` or ``\u202e``; line ends
    and tabs stay.

    Everything that a command prints goes through here or through `printable_line`: `llava_ecg.terminal.show` sees to
    it.
    """
    return STEERING.sub(_escaped, text.replace("\r\n", "\n"))


def printable_line(text: str) -> str:
    r"""`printable` on one line: a line end or a tab in it came from a file, and is shown as ``\n`` or ``\t``."""
    return STEERING.sub(_escaped, text).replace("\n", "\\n").replace("\t", "\\t")


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def style() -> str:
    """The rules of all pieces, for what stands in an element of the class ``llava-ecg``."""
    return _STYLE.read_text(encoding="utf-8")


def fragment(*pieces: str) -> str:
    """HTML that stands by itself within another page, such as a notebook's; empty pieces are left out.

    It brings its style, its ink and its paper, so that it can be read whatever colours the page around it has.
    """
    return "\n".join([f'<div class="llava-ecg fragment"><style>\n{style()}</style>', *filter(None, pieces), "</div>"])


def text(value: Any) -> str:
    """What a file or a model said, as it may stand in HTML."""
    return escape(printable_line(str(value)))


def lines(value: str) -> str:
    """`text` that keeps its line ends."""
    return "\n".join(text(line) for line in value.split("\n"))


def paragraph(value: Any, kind: str = "") -> str:
    """A paragraph, of a class if one is named."""
    return f"<p{_class(kind)}>{text(value)}</p>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def items(values: Iterable[Any]) -> str:
    """A list; empty where nothing is in it."""
    told = [f"<li>{text(value)}</li>" for value in values]
    return "\n".join(["<ul>", *told, "</ul>"]) if told else ""


def folded(summary: str, content: str) -> str:
    """What is shown when its summary is clicked on."""
    return f"<details><summary>{text(summary)}</summary>\n{content}\n</details>"


def table(
    caption: str,
    heads: Sequence[str],
    body: Sequence[Sequence[str]],
    numbers: Container[int],
    flagged: Container[int] = (),
) -> str:
    """A table whose first column names the rows.

    Args:
        numbers: columns that are set to the right.
        flagged: rows that are set bold.
    """

    def kind(column: int) -> str:
        return _class("number" if column in numbers else "")

    top = "".join(f'<th scope="col"{kind(at)}>{text(head)}</th>' for at, head in enumerate(heads))
    told = ['<div class="wide" tabindex="0"><table>', f"<caption>{text(caption)}</caption>"]
    told += [f"<thead><tr>{top}</tr></thead>", "<tbody>"]
    for number, cells in enumerate(body):
        bold = _class("flagged" if number in flagged else "")
        rest = "".join(f"<td{kind(at)}>{text(cell)}</td>" for at, cell in enumerate(cells[1:], 1))
        told.append(f'<tr{bold}><th scope="row">{text(cells[0])}</th>{rest}</tr>')
    return "\n".join([*told, "</tbody></table></div>"])


def png(image: Image) -> bytes:
    """A drawn page as a PNG of few colours, so that it is small; it keeps its scale."""
    import io

    from PIL.Image import Dither

    held = io.BytesIO()
    few = image.convert("RGB").quantize(64, dither=Dither.NONE)
    few.save(held, "PNG", optimize=True, dpi=image.info.get("dpi", (72, 72)))
    return held.getvalue()


def picture(image: Image | bytes, alt: str, caption: str = "", kind: str = "") -> str:
    """A picture that is a part of the HTML; `alt` says what is on it.

    Args:
        image: drawn, or the bytes of a PNG.
        caption: below it.
        kind: the class of the figure.
    """
    import base64

    data = base64.b64encode(image if isinstance(image, bytes) else png(image)).decode("ascii")
    below = f"\n<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f'<figure{_class(kind)}>\n<img src="data:image/png;base64,{data}" alt="{text(alt)}">{below}\n</figure>'
