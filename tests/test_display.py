"""How a notebook shows what the package gives back: short HTML that says what a report says, and a page as a PNG."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import llava_ecg
from llava_ecg import display
from llava_ecg.asked import Answer
from llava_ecg.ecg.displayed import DPI
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.grounding.answer import audit_answer
from llava_ecg.grounding.audit import Audit
from llava_ecg.grounding.displayed import answer_html
from tests.test_document import CHROMIUM, Parts, browser

TEXT = "The heart rate is 72 bpm & regular.\nThe PR interval is 420 ms. <script>alert(1)</script> The U waves are tall."


@pytest.fixture(scope="module")
def recording() -> Recording:
    found = simulate(Heart(rate_bpm=72), seed=1)[0]
    known = {"age": 61.0, "sex": "female"}
    return replace(found, source="/home/somebody/<Doe>.hea", metadata=known, start=datetime(2024, 5, 6, 7, 8))


@pytest.fixture(scope="module")
def measured(recording: Recording) -> Measurements:
    return measure(recording)


@pytest.fixture(scope="module")
def audit(measured: Measurements) -> Audit:
    return audit_answer("Should I treat this?", TEXT, measured)


def whole(html: str) -> Parts:
    """Its parts, where it is well formed, escaped, self-contained, and an element of the class that is styled."""
    parts = Parts(html.replace("<style>", "<style><!--").replace("</style>", "--></style>"))
    assert not parts.open
    assert parts.elements[0] == ("div", {"class": "llava-ecg fragment"})
    assert not {tag for tag, _ in parts.elements} & {"script", "html", "body", "doe"}
    assert not re.findall(r"(?:src|href)=\"(?!data:)", html)
    assert "/home/somebody" not in html
    assert "id=" not in html  # of two outputs in one notebook
    return parts


def test_a_recording(recording: Recording) -> None:
    parts = whole(recording._repr_html_())
    assert parts.words["strong"] == "<Doe>.hea"
    assert "12 leads, 500 Hz, 10.0 s, recorded 2024-05-06 07:08" in parts.words["p"]
    assert "61" not in parts.words["p"]
    assert "female" not in recording._repr_html_()
    (image,) = (attrs for tag, attrs in parts.elements if tag == "img")
    assert image["src"].startswith("data:image/png;base64,")
    assert "12 leads" in image["alt"]
    noted = replace(recording, notes=("a <note>",), signal=np.where(np.arange(12)[:, None] == 2, 0, recording.signal))
    assert "lead III flat" in whole(noted._repr_html_()).words["p"]
    assert "a <note>" in whole(noted._repr_html_()).words["p"]


def test_its_page(recording: Recording) -> None:
    page = Image.open(io.BytesIO(recording._repr_png_() or b""))
    assert page.size == (round(11 * DPI), round(8.5 * DPI))
    assert page.info["dpi"] == pytest.approx((DPI, DPI), abs=0.02)
    pixels = np.asarray(page.convert("RGB")).astype(int)
    assert (pixels[:, :, 0] - pixels[:, :, 1] > 15).mean() > 0.02  # the red of the paper
    assert len(recording._repr_png_() or b"") < 200_000


def test_what_can_not_be_drawn_is_no_traceback(recording: Recording) -> None:
    empty = replace(recording, signal=recording.signal[:, :0])
    assert empty._repr_png_() is None
    assert "no page can be drawn of it" in whole(empty._repr_html_()).words["p"]


def test_measurements(measured: Measurements) -> None:
    parts = whole(measured._repr_html_())
    assert "heart rate" in parts.words["table"]
    assert "60 to 100" in parts.words["table"]
    assert "aVF" in parts.words["details"]
    assert display.RESEARCH_USE in parts.words["p"]
    assert "12 beats" in parts.words["p"]
    high = replace(measured, pr_ms=260.0, notes=("mind <this>",))
    html = high._repr_html_()
    (row,) = re.findall(r'<tr class="flagged"><th scope="row">PR interval</th>.*?</tr>', html)
    assert ">260*</td>" in row
    assert "mind <this>" in whole(html).words["p"]
    assert "first degree" not in html
    assert "Findings" not in replace(measured, findings={})._repr_html_()
    nothing = whole(Measurements(reasons={"heart_rate_bpm": "fewer than two beats"})._repr_html_())
    assert "fewer than two beats" in nothing.words["table"]
    assert "details" not in nothing.words


def test_findings_stand_with_their_reason() -> None:
    late = measure(simulate(Heart(rate_bpm=60, pr_ms=260), seed=3)[0])
    words = whole(late._repr_html_()).words
    assert "first degree AV block" in words["li"]
    assert "no diagnosis" in words["p"]


def test_an_audit(audit: Audit) -> None:
    parts = whole(audit._repr_html_())
    assert f"Audit against the signal: {audit.summary()}." in parts.words["p"]
    badges = [attrs["class"] for tag, attrs in parts.elements if tag == "span"]
    assert {"badge supported", "badge contradicted"} <= set(badges)
    assert "PR 420 ms claimed" in parts.words["ol"]
    assert "a clinician decides" in parts.words["p"]
    assert "not checked: " in parts.words["p"]
    empty = whole(Audit(())._repr_html_())
    assert "no claim that can be checked" in empty.words["p"]
    assert "ol" not in empty.words


def test_an_answer(audit: Audit) -> None:
    html = answer_html(TEXT, "a&b", audit, ("a <note>",), "length")
    assert Answer(TEXT, "a&b", {}, {}, "length", ("a <note>",), audit)._repr_html_() == html
    parts = whole(html)
    assert whole(re.sub(r"<sup>\d+</sup>", "", html)).words["blockquote"] == TEXT
    marks = {attrs["class"]: attrs["title"] for tag, attrs in parts.elements if tag == "mark"}
    assert marks["contradicted"].startswith("contradicted PR 420 ms claimed, ")
    assert "supported" in marks
    assert parts.words["sup"] == "".join(str(place) for place in range(1, len(audit.verdicts) + 1))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "a <note>" in parts.words["p"]
    assert "max_new_tokens" in parts.words["p"]
    assert "max_new_tokens" not in answer_html(TEXT, "a&b", audit)
    assert "not audited" in whole(answer_html("72 bpm", "a", None)).words["p"]


def test_what_steers_a_terminal_or_turns_text_around_is_shown() -> None:
    assert display.text("\x1b[31m<b>\u202e\n") == "\\x1b[31m&lt;b&gt;\\u202e\\n"
    assert display.lines("a\n\x07<") == "a\n\\x07&lt;"


def luminance(colour: str) -> float:
    """The relative luminance of ``#rrggbb``, as WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_words_can_be_read(dark: bool) -> None:
    """WCAG AA: 4.5 between each colour of writing and both colours that it stands on."""
    found = {
        name: pair[dark] for name, *pair in re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", display.style())
    }
    for ink in ("ink", "quiet", "link", "supported", "contradicted", "unsure"):
        for ground in ("paper", "soft"):
            low, high = sorted((luminance(found[ink]), luminance(found[ground])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_notebook_s_own_theme_is_followed(tmp_path: Path, measured: Measurements) -> None:
    """Jupyter says its theme at the body; paper and ink go by it, whatever the system prefers. The page is one of old
    rules (it has no doctype), where tables have an ink of their own."""
    script = (
        "<script>const of = (part, what) => getComputedStyle(document.querySelector(part))[what];"
        "document.title = of('.llava-ecg', 'backgroundColor') + of('td', 'color')</script>"
    )
    for theme, told in (("true", "rgb(255, 255, 255)rgb(26, 28, 38)"), ("false", "rgb(20, 22, 28)rgb(233, 234, 240)")):
        path = tmp_path / "a.html"
        shown = f'<body data-jp-theme-light="{theme}">{measured._repr_html_()}{script}</body>'
        path.write_text(shown, encoding="utf-8")
        assert f"<title>{told}</title>" in browser(tmp_path, "--dump-dom", path.as_uri())


def test_the_package_offers_what_a_notebook_needs() -> None:
    assert llava_ecg.Recording is Recording
    assert llava_ecg.Answer is Answer
    for name in ("read", "render", "measure", "simulate", "write", "audit", "Assistant"):
        assert callable(getattr(llava_ecg, name))
    code = "import sys, llava_ecg; llava_ecg.read; llava_ecg.measure; llava_ecg.audit; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_is_written_is_read_again(tmp_path: Path, recording: Recording) -> None:
    made = llava_ecg.write(recording, tmp_path / "a.npz")
    assert made == {tmp_path / "a.npz": (tmp_path / "a.npz").stat().st_size}
    assert np.array_equal(llava_ecg.read(tmp_path / "a.npz").signal, recording.signal)
    with pytest.raises(llava_ecg.InputError, match="a.xyz does not end in"):
        llava_ecg.write(recording, tmp_path / "a.xyz")
    with pytest.raises(llava_ecg.InputError, match="takes a Recording"):
        llava_ecg.write("a.npz", tmp_path / "b.npz")
