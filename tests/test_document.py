"""``llava-ecg report``: one HTML file, looked at as text and, where there is one, in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg.assistant import Answer, audit_of
from llava_ecg.case import Case
from llava_ecg.cli import main
from llava_ecg.document import Exchange, document
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.ecg.trend import trend

TEXT = (
    "The heart rate is 72 bpm & regular.\nThe PR interval is 420 ms, QRS 90 ms.\n"
    "<script>alert(1)</script> The T waves are unusual."
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def case(seed: int = 1, rate: float = 72, seconds: float = 10.0) -> Case:
    recording = simulate(Heart(rate_bpm=rate), seed=seed, seconds=seconds)[0]
    return Case(
        replace(recording, source=f"/home/somebody/Doe_John_{seed}.hea", metadata={"age": 61.0, "sex": "female"})
    )


def exchange(of: Case, text: str = TEXT) -> Exchange:
    audit = audit_of("Interpret this ECG.", text, of, None, whole=True)
    return Exchange("Interpret <this> ECG.", Answer(text, "a&b", {}, {}, "stop", ("a note",), audit))


class Parts(HTMLParser):
    """The words of each kind of element, and all elements and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: dict[str, str] = {}
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "elements that are not closed in order"

    def handle_data(self, data: str) -> None:
        for tag in dict.fromkeys(self.open):
            skipped = tag == "blockquote" and "a" in self.open  # the number of the line below
            self.words[tag] = self.words.get(tag, "") + ("" if skipped else data)


def test_what_stands_in_it() -> None:
    of = case()
    text = document(of, [exchange(of)])
    parts = Parts(text)
    assert not parts.open
    assert parts.words["h1"] == "ECG report: Doe_John_1.hea"
    assert "Research use only; not a medical device." in parts.words["header"]
    assert parts.words["blockquote"] == TEXT
    assert "script" not in {tag for tag, _ in parts.elements}
    marks = {attrs["class"]: attrs["title"] for tag, attrs in parts.elements if tag == "mark"}
    assert marks["contradicted"].startswith("contradicted PR 420 ms claimed, ")
    assert "(tolerance 20 ms)" in marks["contradicted"]
    assert "supported" in marks
    targets = {attrs["href"][1:] for tag, attrs in parts.elements if tag == "a"}
    assert targets <= {attrs["id"] for _, attrs in parts.elements if "id" in attrs}
    assert len(targets) == parts.words["ol"].count(" claimed")
    assert "heart rate" in parts.words["table"]
    assert "60 to 100" in parts.words["table"]
    (image,) = (attrs for tag, attrs in parts.elements if tag == "img")
    assert image["src"].startswith("data:image/png;base64,")
    assert "12 leads, the first 10 seconds, 72 bpm" in image["alt"]


def test_it_needs_nothing_else_and_tells_nobody() -> None:
    of = case()
    text = document(of, [exchange(of)])
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", text)
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "/home/somebody" not in text
    assert "61" not in Parts(text).words["header"]
    told = Parts(document(of, person=True)).words["header"]
    assert "age 61, female" in told


def test_claims_within_one_another_share_a_mark() -> None:
    of = case()
    one = exchange(of, "Sinus rhythm with first-degree AV block, PR 420 ms; normal sinus rhythm at 72 bpm.")
    parts = Parts(document(of, [one, one]))
    assert parts.words["blockquote"] == one.answer.text * 2
    assert "Answer 2 of 2, by a&b" in parts.words["h2"]


def test_two_recordings_side_by_side() -> None:
    text = document(case(), other=case(2, 90))
    parts = Parts(text)
    assert "Doe_John_2.hea" in parts.words["table"]
    row = re.search(r"heart rate</th>(.*?)</tr>", text)
    assert row is not None
    first, second, change = re.findall(r">([-+\d.]+)\*?</td>", row[1])[:3]
    assert float(second) - float(first) == pytest.approx(float(change), abs=0.11)
    assert change.startswith("+1")
    assert len([tag for tag, _ in parts.elements if tag == "img"]) == 2


def told_by_its_device(of: Case) -> Case:
    assert of.recording is not None
    told = {"device_measurements": {"qt_ms": 402.0, "qtc_ms": 440.0}, "device_statements": ["<b>LVH</b>"]}
    return Case(replace(of.recording, metadata=told))


def test_what_the_device_said_stands_beside_ours() -> None:
    assert "the device" not in document(case()), "which said nothing"
    of = told_by_its_device(case())
    parts = Parts(document(of))
    assert "Measured and stated by the device" in parts.words["h2"]
    assert of.measurements is not None
    assert re.search(rf"QT interval\s*402\s*{of.measurements.qt_ms:.0f}\s*ms", parts.words["table"])
    assert re.search(r"QTc, no formula\s*440\s*\d+ Bazett, \d+ Fridericia", parts.words["table"])
    assert "<b>LVH</b>" in parts.words["li"], "as text"
    assert "Doe_John_2.hea" in Parts(document(case(), other=told_by_its_device(case(2)))).words["h3"]


def test_a_difference_of_angles_goes_the_short_way() -> None:
    from llava_ecg.document import _difference

    assert _difference("170", "-170", "deg") == "+20"
    assert _difference("60", "-144", "deg") == "+156"
    assert _difference("100", "90", "ms") == "-10"
    assert _difference("yes", "no", "") == "differs"
    assert _difference("-", "-", "ms") == ""


def test_a_long_recording_has_its_rate_over_time(tmp_path: Path) -> None:
    of = case(seconds=130.0)
    assert of.recording is not None
    stretches = list(trend(of.recording.window, of.recording.duration, 10.0))
    assert "Heart rate over time, 13 stretches: 7" in document(of, stretches=stretches)
    np.save(tmp_path / "long.npy", of.recording.signal)
    words = ["--rate", "500", "--unit", "mV", "--leads", "standard", "-o", str(tmp_path / "long.html")]
    assert main(["report", str(tmp_path / "long.npy"), *words]) == 0
    assert "Heart rate over time" in (tmp_path / "long.html").read_text()


def test_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of = case()
    assert of.recording is not None
    np.savez(tmp_path / "a.npz", signal=of.recording.signal, rate=500, unit="mV", leads=list(of.recording.leads))

    class Scripted:
        def ask(self, turns: Any, about: Case, decoding: Any) -> Answer:
            return exchange(about, f"{turns[0].text} 72 bpm.").answer

    words = ["report", str(tmp_path / "a.npz"), "--ask", "One?", "--ask", "Two?", "-o", str(tmp_path / "a.html")]
    assert main(words, open_assistant=lambda *_, **__: Scripted()) == 0  # type: ignore[arg-type,return-value]
    text = (tmp_path / "a.html").read_text()
    assert "One? " in text
    assert "Two? " in text
    assert "a.html (" in capsys.readouterr().out
    for wrong, said in (
        (["report", "nothing.hea", "-o", str(tmp_path / "b.html")], "no such file"),
        (["report", str(tmp_path / "a.npz"), "-o", str(tmp_path / "b.pdf")], ".html"),
        (["report", str(tmp_path / "a.npz"), "--ask", " ", "-o", str(tmp_path / "b.html")], "question"),
    ):
        assert main(wrong) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "b.html").exists()


def browser(folder: Path, *words: str) -> str:
    """What Chromium prints."""
    line = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    line += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
    done = subprocess.run(
        [*line, f"--user-data-dir={folder / 'profile'}", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@in_browser
@pytest.mark.parametrize("width", [375, 768, 1280])
def test_on_a_screen(width: int, tmp_path: Path) -> None:
    """Nothing lies beside the window, and the page of the ECG is seen."""
    from PIL import Image

    of = case()
    path = tmp_path / "a.html"
    # told by a script, which the report itself forbids
    script = "<script>document.title = document.documentElement.scrollWidth + ' ' + innerWidth</script>"
    text = re.sub(r"<meta http-equiv[^>]*>", "", document(of, [exchange(of)], other=case(2, 90)))
    path.write_text(text.replace("</body>", f"{script}</body>"), encoding="utf-8")
    window = f"--window-size={width},1600"
    told = browser(tmp_path, window, "--dump-dom", path.as_uri())
    found = re.search(r"<title>(\d+) (\d+)</title>", told)
    assert found is not None
    assert int(found[1]) <= int(found[2])
    browser(tmp_path, window, f"--screenshot={tmp_path / 'a.png'}", path.as_uri())
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    grid = (pixels[:, :, 0] - pixels[:, :, 1] > 15).sum()  # the red of the paper
    assert grid > 0.02 * pixels[:, :, 0].size


@in_browser
@pytest.mark.skipif(shutil.which("pdftoppm") is None, reason="needs poppler's pdftoppm")
def test_on_paper(tmp_path: Path) -> None:
    """A4, and the large squares of the first page are 5 mm apart."""
    from PIL import Image

    of = case()
    path = tmp_path / "a.html"
    path.write_text(document(of, [exchange(of)]), encoding="utf-8")
    browser(tmp_path, f"--print-to-pdf={tmp_path / 'a.pdf'}", "--no-pdf-header-footer", path.as_uri())
    words = ["pdftoppm", "-r", "254", "-f", "1", "-l", "1", "-png", str(tmp_path / "a.pdf"), str(tmp_path / "page")]
    subprocess.run(words, check=True)
    (page,) = tmp_path.glob("page*.png")
    pixels = np.asarray(Image.open(page).convert("RGB")).astype(int)
    assert pixels.shape[:2] == pytest.approx((2100, 2970), abs=3)
    red = (pixels[:, :, 0] - pixels[:, :, 1]).mean(axis=0)
    red -= red.mean()
    # ten squares of 5 mm are 500 pixels here
    scores = {step: float((red[:-step] * red[step:]).mean()) for step in range(480, 521)}
    assert max(scores, key=scores.__getitem__) == pytest.approx(500, abs=2)
