"""``llava-ecg audit``: any text against any signal, without a model; and the marked page of ``ask`` and ``chat``."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llava_ecg import cli
from llava_ecg.ecg.simulate import Heart, simulate

Run = Callable[..., tuple[int, str, str]]
TEXT = "Sinus rhythm at 72 bpm. The PR interval is 260 ms. Possible pericarditis."


@pytest.fixture(scope="module")
def signal() -> np.ndarray:
    return simulate(Heart(rate_bpm=72, pr_ms=160), seed=1)[0].signal


@pytest.fixture
def ecg(tmp_path: Path, signal: np.ndarray) -> list[str]:
    np.save(tmp_path / "heart.npy", signal)
    return ["--ecg", str(tmp_path / "heart.npy"), "--rate", "500", "--unit", "mV", "--leads", "standard"]


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "answer.txt").write_text(TEXT)
    return str(tmp_path / "answer.txt")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: Any) -> tuple[int, str, str]:
        code = cli.main(["audit", *map(str, words)])
        return code, *capsys.readouterr()

    return run


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("llava-ecg: ") and err.count("\n") == 1
    assert not [word for word in words if word not in err], err


def test_each_claim_gets_a_line(ecg: list[str], text: str, run: Run) -> None:
    code, out, _ = run(*ecg, "--text", text)
    assert code == 0
    assert "audit    4 claims: 2 supported, 1 contradicted, 1 not checked" in out
    (wrong,) = [line for line in out.splitlines() if line.startswith("  contradicted")]
    assert "PR 260 ms claimed" in wrong and "tolerance 20 ms" in wrong
    assert out.rstrip().endswith("Research use only; not a medical device.")


def test_json_has_the_verdicts_and_the_measurements_and_nothing_else_is_printed(
    ecg: list[str], text: str, run: Run
) -> None:
    code, out, err = run(*ecg, "--text", text, "--json")
    found = json.loads(out)
    assert (code, err, list(found)) == (0, "", ["recording", "measurements", "audit", "fixed", "page"])
    assert found["audit"]["counts"] == {
        "supported": 2,
        "borderline": 0,
        "contradicted": 1,
        "unmeasurable": 0,
        "not checked": 1,
    }
    (verdict,) = [v for v in found["audit"]["verdicts"] if v["claim"]["quantity"] == "pr_ms"]
    start, end = verdict["claim"]["span"]
    assert (verdict["status"], TEXT[start:end], verdict["tolerance"]) == ("contradicted", "260 ms", 20.0)
    assert verdict["measured"] == pytest.approx(160, abs=20)
    assert found["measurements"]["beats"] == [], "the columns of single beats stay out of it"


def test_the_marked_page_is_written(ecg: list[str], text: str, run: Run, tmp_path: Path) -> None:
    for name in ("audit.png", "audit.jpg"):
        code, out, _ = run(*ecg, "--text", text, "--page", tmp_path / name)
        assert code == 0 and f"page     {tmp_path / name}" in out
        assert Image.open(tmp_path / name).width == 1600


def test_a_real_recording(shared: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("Sinus rhythm. The rate is 190 bpm. ST elevation in V2. No diagnosis.")
    words = ["--ecg", shared / "data" / "cinc2021" / "HR00001.hea", "--text", tmp_path / "t.txt"]
    code, out, _ = run(*words, "--page", tmp_path / "p.png")
    assert code == 0 and 'contradicted   "190 bpm"' in out
    assert Image.open(tmp_path / "p.png").width == 1600
    found = json.loads(run(*words, "--json")[1])
    assert found["recording"]["format"] == "wfdb" and found["audit"]["counts"]["contradicted"] >= 1


def test_the_words_of_a_claim_stand_beside_its_verdict(ecg: list[str], run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("Sinusrhythmus, keine ST-Hebung in V1-V4. PR\x1b[31m 160 ms")
    code, out, _ = run(*ecg, "--text", tmp_path / "t.txt")
    assert code == 0 and '"Sinusrhythmus"' in out and "\x1b" not in out


def test_standard_input(ecg: list[str], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeffRate 72 bpm.".encode())))
    code, out, _ = run(*ecg, "--text", "-")
    assert code == 0 and "1 claim: 1 supported" in out


@pytest.mark.parametrize("said", ["hello", "漢字 بدون", "a page of a novel. " * 200, "\x00\x1b[31m"])
def test_a_text_without_a_claim_says_so(said: str, ecg: list[str], run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(said, encoding="utf-8")
    code, out, _ = run(*ecg, "--text", tmp_path / "t.txt")
    assert code == 0 and "audit    no claim that can be checked" in out


def test_fifty_thousand_words(ecg: list[str], run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("The PR interval is 160 ms and the rhythm is regular . " * 4546)
    code, out, _ = run(*ecg, "--text", tmp_path / "t.txt", "--page", tmp_path / "p.png")
    assert code == 0 and "audit    2 claims: 2 supported" in out


def test_the_sex_sets_the_threshold_of_qtc(tmp_path: Path, run: Run) -> None:
    np.save(tmp_path / "long.npy", simulate(Heart(rate_bpm=60, qt_ms=487), seed=1)[0].signal)
    (tmp_path / "t.txt").write_text("The QTc is normal.")
    words = [
        "--ecg",
        tmp_path / "long.npy",
        "--rate",
        "500",
        "--unit",
        "mV",
        "--leads",
        "standard",
        "--text",
        tmp_path / "t.txt",
    ]
    assert "450" in run(*words, "--sex", "male")[1]
    assert "460" in run(*words, "--sex", "female")[1]


def test_the_age_sets_the_threshold_of_st_in_v2_and_v3(tmp_path: Path, run: Run) -> None:
    signal = simulate(Heart(rate_bpm=60, st_territory="anterior", st_mv=0.27), seed=1)[0].signal
    np.save(tmp_path / "st.npy", signal)
    (tmp_path / "t.txt").write_text("There is ST elevation in V2 and V3.")
    words = ["--ecg", tmp_path / "st.npy", "--rate", "500", "--unit", "mV", "--leads", "standard"]
    words += ["--text", tmp_path / "t.txt", "--sex", "male"]
    assert "0.2 mV in V2 and V3, the threshold of men from 40; narrowly" in run(*words, "--age", "64")[1]
    assert "0.25 mV in V2 and V3, the threshold of men below 40" in run(*words, "--age", "22")[1]
    with pytest.raises(SystemExit, match="2"):
        run(*words, "--age", "200")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "can't read the text"), (b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfe\x00\x9f", "is not UTF-8")],
)
def test_a_bad_text_is_one_sentence(
    content: bytes | None, words: str, ecg: list[str], run: Run, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "t.txt").write_bytes(content)
    refused(run(*ecg, "--text", tmp_path / "t.txt"), words)


def test_other_mistakes_are_one_sentence(ecg: list[str], text: str, run: Run, tmp_path: Path) -> None:
    refused(run("--ecg", tmp_path / "none.hea", "--text", text), "none.hea")
    refused(run("--ecg", text, "--text", text), "answer.txt")
    refused(run(*ecg, "--text", tmp_path), "can't read the text")
    refused(run(*ecg, "--text", text, "--page", tmp_path / "p.gif"), ".png")
    refused(run(*ecg, "--text", text, "--page", tmp_path / "nowhere" / "p.png"), "nowhere")


@pytest.mark.parametrize("change", ["upside down", "arms swapped"])
def test_a_wrong_signal_is_named(change: str, signal: np.ndarray, text: str, run: Run, tmp_path: Path) -> None:
    other = {"upside down": -signal, "arms swapped": _swapped(signal)}[change]
    np.save(tmp_path / "odd.npy", other.astype(np.float32))
    code, out, _ = run(
        "--ecg", tmp_path / "odd.npy", "--rate", "500", "--unit", "mV", "--leads", "standard", "--text", text
    )
    assert code == 0
    assert {"upside down": "note     the signal looks upside down", "arms swapped": "note     the arm electrodes"}[
        change
    ] in out


def test_a_wrong_unit_is_refused(signal: np.ndarray, text: str, run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "odd.npy", signal * 1000)
    refused(
        run("--ecg", tmp_path / "odd.npy", "--rate", "500", "--unit", "mV", "--leads", "standard", "--text", text),
        "mV",
        "--unit",
    )


def _swapped(signal: np.ndarray) -> np.ndarray:
    """Left and right arm exchanged: I turned over, II and III exchanged, aVR and aVL exchanged."""
    first, second, third, avr, avl, avf = signal[:6]
    return np.concatenate([np.stack([-first, third, second, avl, avr, avf]), signal[6:]])


def test_the_text_comes_back_with_the_measured_values(ecg: list[str], run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("The PR interval is 260 ms. No P waves are present.\nThe rhythm is regular.")
    code, out, _ = run(*ecg, "--text", tmp_path / "t.txt", "--fix")
    assert code == 0
    lines = out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("The PR interval is ~~260 ms~~ ["))
    assert 150 < float(lines[first].split("[")[1].split()[0]) < 170 and "[present measured]" in lines[first]
    assert lines[first + 1] == "The rhythm is regular."
    assert "The PR" not in run(*ecg, "--text", tmp_path / "t.txt")[1]


def test_what_a_text_leaves_unanswered_is_said(ecg: list[str], run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("The PR interval is 160 ms.")
    code, out, _ = run(
        *ecg, "--text", tmp_path / "t.txt", "--question", "How is the ST segment, and should I give aspirin?"
    )
    assert code == 0 and "1 claim: 1 supported; not checked: ST segment" in out
    assert "  not checked    ST segment" in out and "a clinician decides" in out
