"""Makes the pictures of the documentation anew, each by the command that a reader would type: `make docs-pictures`.

    python scripts/docs_pictures.py [--out docs/pictures] [--only page,audit,chat,report,view,speed]

The ECG is the 12-lead DICOM that the pydicom package carries. chat.png and view.png, an evaluation in `inspect view`,
hold answers of gem-tiny, so they change with that checkpoint; the others do not. chat.png, report.png and view.png are
made by Chromium: where that is not installed they are left as they are, and a line says so. Each is a PNG of under
200 kB. About two minutes on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import html
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageChops

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
HEADLESS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
LARGEST = 200_000  # bytes
WIDEST = 1100  # pixels: what a page of the site shows
# Written by hand, so that the picture shows each colour: the PR interval and the block are not so.
STATEMENT = (
    "Sinus rhythm at 61 bpm with a normal axis. The PR interval is 240 ms, so there is a first-degree AV block. "
    "The QRS duration is 88 ms, and the T wave is inverted in V5.\n"
)
TALK = "What is the heart rate?\nIs the QRS complex wide?\n/audit\n/exit\n"
SHEET = (
    "body{margin:0;padding:16px 20px;background:#1b1f24;color:#e6e8eb}"
    "pre{font:15px/1.45 'DejaVu Sans Mono',monospace;margin:0;white-space:pre-wrap}"
)


def main(words: list[str] | None = None) -> int:
    """Make the pictures that are asked for."""
    makers = {"page": page, "audit": audit, "chat": chat, "report": report, "view": view, "speed": speed}
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures", help="folder (default: docs/pictures)")
    parser.add_argument("--only", default=",".join(makers), help="some of %(default)s")
    asked = parser.parse_args(words)
    names = asked.only.split(",")
    if unknown := set(names) - set(makers):
        parser.error(f"no picture is named {', '.join(sorted(unknown))}; there are {', '.join(makers)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        shutil.copy(the_ecg(), here / "patient.dcm")
        for name in names:
            if name in ("chat", "report", "view") and CHROMIUM is None:
                print(f"{name}.png is left as it is: Chromium is not installed")
                continue
            makers[name](here)
            size = keep(here / f"{name}.png", asked.out / f"{name}.png")
            print(f"{asked.out / name}.png: {size / 1000:.0f} kB")
    return 0


def the_ecg() -> str:
    """The path of pydicom's 12-lead ECG."""
    from pydicom.data import get_testdata_file

    return str(get_testdata_file("waveform_ecg.dcm", download=False))


def page(here: Path) -> None:
    """The page of the ECG."""
    run(here, "render", "patient.dcm", "-o", "page.png", "--dpi", "100", "--heading")


def audit(here: Path) -> None:
    """The page with the waves that a statement cites marked."""
    (here / "answer.txt").write_text(STATEMENT, encoding="utf-8")
    run(here, "audit", "--ecg", "patient.dcm", "--text", "answer.txt", "--page", "audit.png")


def chat(here: Path) -> None:
    """A conversation in the terminal, as white letters on black."""
    said = run(here, "chat", "--ecg", "patient.dcm", typed=TALK)
    text = f"$ llava-ecg chat --ecg patient.dcm\n{said}"
    (here / "chat.html").write_text(
        f"<!doctype html><meta charset=utf-8><style>{SHEET}</style><pre>{html.escape(text)}</pre>", encoding="utf-8"
    )
    photograph(here / "chat.html", here / "chat.png", 960, 1400)
    trim(here / "chat.png")


def report(here: Path) -> None:
    """The head of a report."""
    run(here, "report", "patient.dcm", "-o", "report.html")
    photograph(here / "report.html", here / "report.png", 1000, 1150)


def view(here: Path) -> None:
    """A question, its answer and its score, as `inspect view` shows them."""
    (here / "cinc2021").mkdir()
    run(here, "convert-ecg", "patient.dcm", "cinc2021/patient.hea")
    run(here, "eval", "--tasks", "measured", "--data", ".", "--out", "runs")
    [log] = (here / "runs").glob("*.eval")
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("inspect")),
        "view",
        "start",
        "--log-dir",
        "runs",
        "--port",
        str(port),
    ]
    with subprocess.Popen(command, cwd=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as viewer:
        try:
            wait_for(port)
            address = f"http://127.0.0.1:{port}/#/logs/{log.name}/samples/sample/patient/1/messages"
            asyncio.run(photograph_later(address, here / "view.png", 1280, 900))
        finally:
            viewer.terminate()
    trim(here / "view.png")


def speed(here: Path) -> None:
    """The speeds of docs/speed.md, from the JSON of the benches."""
    line = [sys.executable, str(ROOT / "scripts" / "bench" / "plot.py"), "--out", str(here / "speed.png")]
    subprocess.run(line, check=True)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def wait_for(port: int) -> None:
    """Until something listens on the port, a minute at most."""
    for _ in range(120):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.5)
    raise SystemExit("inspect view did not start within a minute")


def run(here: Path, *words: str, typed: str | None = None) -> str:
    """What `llava-ecg WORDS` prints, run in the folder."""
    place = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "COLUMNS": "96"}
    line = [sys.executable, "-m", "llava_ecg", *words]
    ended = subprocess.run(line, cwd=here, env=place, input=typed, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"llava-ecg {' '.join(words)} ended with {ended.returncode}: {ended.stderr.strip()}")
    return ended.stdout


async def photograph_later(address: str, target: Path, width: int, height: int, seconds: float = 20.0) -> None:
    """What Chromium shows of an address some seconds after it was called, when its scripts have fetched what they
    show."""
    import aiohttp

    assert CHROMIUM is not None
    port = free_port()
    line = [CHROMIUM, *HEADLESS, f"--window-size={width},{height}", f"--remote-debugging-port={port}", "about:blank"]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            wait_for(port)
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    [tab] = [each for each in await answer.json() if each["type"] == "page"]
                async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as page:
                    await page.send_json({"id": 1, "method": "Page.navigate", "params": {"url": address}})
                    await asyncio.sleep(seconds)
                    await page.send_json({"id": 2, "method": "Page.captureScreenshot"})
                    while (told := await page.receive_json()).get("id") != 2:
                        pass
            target.write_bytes(base64.b64decode(told["result"]["data"]))
        finally:
            browser.terminate()


def photograph(source: Path, target: Path, width: int, height: int) -> None:
    """What Chromium shows of a file, in pixels."""
    assert CHROMIUM is not None
    line = [CHROMIUM, *HEADLESS, f"--window-size={width},{height}", f"--screenshot={target}", source.as_uri()]
    subprocess.run(line, check=True, capture_output=True, timeout=300)


def trim(path: Path) -> None:
    """Cut the empty rest below what is written."""
    with Image.open(path) as opened:
        shown = opened.convert("RGB")
    empty = Image.new("RGB", shown.size, shown.getpixel((0, shown.height - 1)))
    box = ImageChops.difference(shown, empty).getbbox()
    if box is not None:
        shown.crop((0, 0, shown.width, min(shown.height, box[3] + 16))).save(path)


def keep(source: Path, target: Path) -> int:
    """Write a picture with as many colours as fit into 200 kB; returns its bytes."""
    with Image.open(source) as opened:
        shown = opened.convert("RGB")
    if shown.width > WIDEST:
        shown = shown.resize((WIDEST, round(shown.height * WIDEST / shown.width)), Image.Resampling.LANCZOS)
    for colours in (128, 64, 32, 16, 8):
        shown.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(target, optimize=True)
        if target.stat().st_size < LARGEST:
            return target.stat().st_size
    raise SystemExit(f"{target} is larger than {LARGEST} bytes with eight colours too; draw it smaller")


if __name__ == "__main__":
    sys.exit(main())
