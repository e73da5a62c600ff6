"""What a person types: outputs, exit codes, and the one sentence for each mistake. The model is a stand-in that says
what it was asked."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llava_ecg import __version__, cli, files
from llava_ecg.ecg.images import read_image
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError

FLAGS = ["--rate", "500", "--unit", "mV"]
KEYS = [
    "question",
    "answer",
    "model",
    "recording",
    "measurements",
    "shown",
    "measurements_shown",
    "audit",
    "drafts",
    "page",
    "marked_page",
    "tokens",
    "seconds",
    "notes",
    "overrides",
    "files",
]


class Assistant:
    """Answers one sentence, prints to standard output as a careless library would, and remembers what it was given."""

    name = "stand-in"

    def __init__(self, finished: str = "stop") -> None:
        self.finished = finished
        self.opened: list[tuple[Any, ...]] = []
        self.given: dict[str, Any] = {}

    def open(self, model: str, *, device: str | None, dtype: str | None, quantization: str | None = None) -> Assistant:
        self.opened.append((model, device, dtype))
        return self

    def ask(
        self,
        turns: Any,
        case: Any,
        decoding: Any,
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: Any = None,
    ) -> Any:
        from llava_ecg.assistant import Answer
        from llava_ecg.grounding.audit import audit

        print("chatter")
        self.given = {"turns": turns, "case": case, "decoding": decoding}
        text = "The heart rate is 72 bpm.\x1b[2J"
        if on_text is not None:
            on_text(text[:9])
            on_text(text[9:])
        tokens = {"prompt": 9, "new": 7}
        return Answer(
            text, self.name, tokens, {"total": 1.0}, self.finished, ("a note",), audit(text, case.measurements)
        )


@pytest.fixture(scope="session")
def signal() -> np.ndarray:
    """float32 [12, 5000] in mV at 500 Hz, 72 beats a minute."""
    return simulate(Heart(rate_bpm=72), seed=1)[0].signal


@pytest.fixture
def ecg(tmp_path: Path, signal: np.ndarray) -> list[str]:
    """``--ecg FILE`` and the flags that a bare array needs."""
    np.save(tmp_path / "heart.npy", signal)
    return ["--ecg", str(tmp_path / "heart.npy"), *FLAGS, "--leads", "standard"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line: (exit code, standard output, standard error)."""

    def run(arguments: Sequence[Any], assistant: Assistant | None = None) -> tuple[int, str, str]:
        opener: Any = (assistant or Assistant()).open
        code = cli.main([str(word) for word in arguments], open_assistant=opener)
        return code, *capsys.readouterr()

    return run


def refused(result: tuple[int, str, str], *words: str) -> None:
    """The result is exit code 2, nothing on standard output, and a last line with every one of the words."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("llava-ecg: ") and err.count("\n") == 1
    assert not [word for word in words if word not in err], err


# -- help, version, list


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words, expected in (
        (["--version"], f"llava-ecg {__version__}\n"),
        (["--help"], "Research use only; not a medical device."),
    ):
        with pytest.raises(SystemExit) as left:
            cli.main(words)
        assert left.value.code == 0
        assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", ["ask", "chat", "audit", "measure", "render", "list", "fetch", "inspect", "convert", "merge", "eval"]
)
def test_each_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert f"example: llava-ecg {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["frobnicate"],
        ["ask", "--frobnicate"],
        ["ask", "--temperature", "-1"],
        ["ask", "--temperature", "nan"],
        ["ask", "--top-p", "0"],
        ["ask", "--max-new-tokens", "0"],
        ["ask", "--max-new-tokens", "2.5"],
        ["ask", "--rate", "fast"],
        ["ask", "--stop", ""],
        ["chat", "--stop"],
        ["render", "x.npy"],
        ["render", "x.npy", "-o", "p.png", "--dpi", "5000"],
        ["list", "frogs"],
    ],
)
def test_what_argparse_refuses(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    assert left.value.code == 2
    assert "usage: llava-ecg" in capsys.readouterr().err


def test_list_names_every_socket_or_one(run: Any) -> None:
    code, out, _ = run(["list"])
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines() if not line.startswith(" ")] == [
        "readers",
        "towers",
        "projectors",
        "templates",
        "datasets",
        "guides",
        "tasks",
    ]
    assert "wfdb" in out and "ecg_coca" in out
    _, only, _ = run(["list", "readers"])
    assert "wfdb" in only and "ecg_coca" not in only


def test_light_commands_import_nothing_heavy(tmp_path: Path, signal: np.ndarray) -> None:
    np.save(tmp_path / "heart.npy", signal)
    measuring = ["measure", str(tmp_path / "heart.npy"), *FLAGS, "--leads", "standard"]
    drawing = ["render", *measuring[1:], "-o", str(tmp_path / "p.png")]
    (tmp_path / "text.txt").write_text("PR 160 ms")
    auditing = ["audit", "--ecg", *measuring[1:], "--text", str(tmp_path / "text.txt")]
    every: tuple[tuple[list[str], str], ...] = (
        (["list"], "numpy scipy PIL torch"),
        (measuring, "torch transformers PIL"),
        (auditing, "torch transformers PIL"),
        (drawing, "torch transformers"),
    )
    for words, heavy in every:
        code = (
            f"import sys; from llava_ecg.cli import main; main({words!r}); print([m for m in {heavy.split()!r} if "
            "m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]", words


# -- ask


def test_ask_shows_what_was_read_measured_said_and_audited(ecg: list[str], run: Any) -> None:
    code, out, err = run(["ask", *ecg, "What is the rate?"])
    assert code == 0
    places = [
        out.index(part)
        for part in (
            "heart.npy",
            "12 leads, 500 Hz, 10.0 s",
            "What is the rate?",
            "The heart rate is 72",
            "1 supported",
        )
    ]
    assert places == sorted(places)
    assert out.rstrip().endswith("Research use only; not a medical device.")
    assert "\x1b" not in out, "the model's control characters steer the terminal"
    assert "a note" in out and "page " not in out
    assert err == "loading gem-tiny ...\n"


def test_ask_hands_over_question_case_and_decoding(ecg: list[str], run: Any) -> None:
    stand_in = Assistant()
    sampling = ["--temperature", "0.5", "--top-p", "0.9", "--max-new-tokens", "12", "--seed", "3"]
    run(["ask", *ecg, *sampling, "--model", "other", "--device", "cpu", "--dtype", "bfloat16"], stand_in)
    assert stand_in.opened == [("other", "cpu", "bfloat16")]
    assert [(turn.role, turn.text) for turn in stand_in.given["turns"]] == [("user", "Interpret this ECG.")]
    decoding = stand_in.given["decoding"]
    assert (decoding.temperature, decoding.top_p, decoding.max_new_tokens, decoding.seed) == (0.5, 0.9, 12, 3)
    assert decoding.stop == ()
    run(["ask", *ecg, "--stop", "END", "--stop", "\n"], stand_in)
    assert stand_in.given["decoding"].stop == ("END", "\n")
    assert stand_in.given["case"].recording.rate == 500


def test_json_is_one_object_and_nothing_else(ecg: list[str], run: Any) -> None:
    code, out, err = run(["ask", *ecg, "--json"], Assistant("length"))
    found = json.loads(out)
    assert code == 0 and out.count("\n") == 1
    assert list(found) == KEYS
    assert found["page"] is None and found["model"] == "stand-in"
    assert found["recording"]["leads"][:2] == ["I", "II"] and found["recording"]["rate_hz"] == 500
    assert abs(found["measurements"]["heart_rate_bpm"] - 72) < 2
    assert found["audit"]["counts"]["supported"] == 1
    assert "7 new tokens" in found["notes"][-1]
    assert "chatter" in err


def test_out_holds_the_page_and_the_same_json(ecg: list[str], run: Any, tmp_path: Path) -> None:
    code, out, _ = run(["ask", *ecg, "--json", "--out", tmp_path / "a" / "b"])
    found = json.loads(out)
    assert code == 0
    assert sorted(file.name for file in (tmp_path / "a" / "b").iterdir()) == [
        "heart_answer.json",
        "heart_audit.png",
        "heart_page.png",
    ]
    assert json.loads((tmp_path / "a" / "b" / "heart_answer.json").read_text()) == found
    assert Image.open(found["page"]).size == (2200, 1700)
    assert Image.open(found["marked_page"]).width == 1600


def test_the_marked_page_can_be_had_alone(ecg: list[str], run: Any, tmp_path: Path) -> None:
    code, out, _ = run(["ask", *ecg, "--page", tmp_path / "marked.png"])
    assert code == 0 and f"marked   {tmp_path / 'marked.png'}" in out
    assert [file.name for file in tmp_path.glob("*.png")] == ["marked.png"]
    refused(run(["ask", "--image", tmp_path / "marked.png", "--page", tmp_path / "x.png"]), "--page", "--ecg")
    refused(run(["ask", *ecg, "--page", tmp_path / "x.gif"]), "x.gif")


def test_an_image_alone_has_no_measurements(tmp_path: Path, run: Any) -> None:
    Image.new("RGB", (640, 480), "white").save(tmp_path / "page.png")
    stand_in = Assistant()
    found = json.loads(run(["ask", "--image", tmp_path / "page.png", "--json"], stand_in)[1])
    assert found["recording"] is None and found["measurements"] is None
    assert stand_in.given["case"].image.size == (640, 480)
    code, out, _ = run(["ask", "--image", tmp_path / "page.png"])
    assert code == 0 and "640 x 480 pixels" in out


def test_an_image_that_is_the_page_is_not_written_over(tmp_path: Path, run: Any) -> None:
    page = tmp_path / "x_page.png"
    Image.new("L", (64, 64)).save(page)
    before = page.read_bytes()
    named_alike = tmp_path / "x.png"
    named_alike.symlink_to(page)
    code, out, _ = run(["ask", "--image", named_alike, "--out", tmp_path])
    assert code == 0 and str(page) in out
    assert page.read_bytes() == before


def test_the_question_comes_from_standard_input(ecg: list[str], run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("Is it\nregular?\n"))
    stand_in = Assistant()
    run(["ask", *ecg, "-"], stand_in)
    assert stand_in.given["turns"][0].text == "Is it\nregular?"


def test_question_limits(ecg: list[str], run: Any) -> None:
    stand_in = Assistant()
    refused(run(["ask", *ecg, "x" * 20_000], stand_in), "20,000 characters")
    refused(run(["ask", *ecg, "  "], stand_in), "empty")
    assert not stand_in.opened
    assert run(["ask", *ecg, "x" * 19_999], stand_in)[0] == 0


def test_ask_about_nothing(run: Any) -> None:
    refused(run(["ask", "Rate?"]), "--ecg", "--image")


@pytest.mark.parametrize("place", ["file/below", "file"])
def test_an_unwritable_folder_is_refused_before_the_model_is_loaded(
    place: str, ecg: list[str], run: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    stand_in = Assistant()
    refused(run(["ask", *ecg, "--out", tmp_path / place], stand_in), "can't write to the folder", place)
    assert not stand_in.opened


def test_missing_leads_are_refused_or_zero(tmp_path: Path, signal: np.ndarray, run: Any) -> None:
    np.save(tmp_path / "three.npy", signal[[0, 1, 6]])
    words = ["--ecg", tmp_path / "three.npy", *FLAGS, "--leads", "I,II,V1"]
    stand_in = Assistant()
    refused(run(["ask", *words], stand_in), "V2, V3, V4, V5, V6", "--missing-leads zero")
    assert not stand_in.opened
    found = json.loads(run(["ask", *words, "--missing-leads", "zero", "--json"], stand_in)[1])
    given = stand_in.given["case"].recording
    assert not given.missing and np.isnan(given.lead("V6")).all() and np.isfinite(given.lead("aVF")).all()
    assert found["recording"]["derived"] == ["III", "aVR", "aVL", "aVF"]
    assert any("V2, V3, V4, V5, V6 were not recorded" in note for note in found["recording"]["notes"])
    assert found["measurements"]["leads"]["V6"]["r_mv"] is None
    assert "7 of 12 leads" in run(["ask", *words, "--missing-leads", "zero"])[1]
    assert run(["measure", *words[1:]])[0] == 0


def test_a_model_that_is_none(ecg: list[str], run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ask", *ecg, "--model", "gem-tinny"]) == 2  # the real opener
    said = capsys.readouterr().err.splitlines()[-1]
    assert "no model 'gem-tinny'" in said
    assert "did you mean gem-tiny" in said


# -- images


def png_head(side: int) -> bytes:
    """The beginning of a black-and-white PNG of side x side pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 9)
        + b"IDAT"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not a PNG at all", ["is not an image"]),
        (b"", ["is not an image"]),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, ["is not an image"]),
        ("cut", ["can't be read as an image"]),
        ("bomb", ["too many pixels", "100 million"]),
        ("large", ["11000 x 11000", "100 million"]),
        ("dot", ["8 x 8"]),
        ("folder", ["is a folder"]),
        (None, ["no such image"]),
    ],
)
def test_images_that_are_none(content: Any, words: list[str], tmp_path: Path, run: Any) -> None:
    path = tmp_path / "page.png"
    if content == "folder":
        path.mkdir()
    elif content == "dot":
        Image.new("L", (8, 8)).save(path)
    elif content in ("bomb", "large"):
        path.write_bytes(png_head(30_000 if content == "bomb" else 11_000))
    elif content == "cut":
        Image.effect_noise((200, 200), 50).save(path)
        path.write_bytes(path.read_bytes()[:5000])
    elif content is not None:
        path.write_bytes(content)
    stand_in = Assistant()
    refused(run(["ask", "--image", path], stand_in), "page.png", *words)
    assert not stand_in.opened


def test_images_become_what_a_person_sees(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png").getpixel((5, 5)) == (255, 255, 255)
    Image.fromarray(np.full((64, 64), 32_768, np.uint16)).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png").getpixel((5, 5)) == (128, 128, 128)
    turned = Image.new("RGB", (80, 40), "white")
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera was held upright
    turned.save(tmp_path / "photo.jpg", exif=exif)
    assert read_image(tmp_path / "photo.jpg").size == (40, 80)


# -- measure and render


def test_measure(ecg: list[str], run: Any) -> None:
    code, out, _ = run(["measure", *ecg[1:]])
    assert code == 0 and "12 leads, 500 Hz" in out and "Research use only" in out
    found = json.loads(run(["measure", *ecg[1:], "--json"])[1])
    assert list(found) == ["recording", "measurements"]
    assert abs(found["measurements"]["heart_rate_bpm"] - 72) < 2


def test_too_short_to_measure(tmp_path: Path, signal: np.ndarray, run: Any) -> None:
    np.save(tmp_path / "short.npy", signal[:, :450])
    words = [tmp_path / "short.npy", *FLAGS, "--leads", "standard"]
    refused(run(["measure", *words]), "short.npy")
    stand_in = Assistant()
    code, _, err = run(["ask", "--ecg", *words], stand_in)
    assert code == 2 and "short.npy" in err and not stand_in.opened


def test_a_part_is_asked_about(ecg: list[str], run: Any) -> None:
    stand_in = Assistant()
    code, out, _ = run(["ask", *ecg, "--start", "2", "--seconds", "5"], stand_in)
    assert code == 0 and "read from 2 s to 7 s" in out
    assert stand_in.given["case"].recording.duration == 5.0


def test_render(ecg: list[str], run: Any, tmp_path: Path) -> None:
    code, out, _ = run(["render", *ecg[1:], "-o", tmp_path / "p.png", "--dpi", "100"])
    assert code == 0 and "1100 x 850" in out
    with Image.open(tmp_path / "p.png") as page:
        assert page.size == (1100, 850) and page.info["dpi"] == pytest.approx((100, 100), abs=0.1)
    assert run(["render", *ecg[1:], "-o", tmp_path / "p.jpg"])[0] == 0
    assert Image.open(tmp_path / "p.jpg").format == "JPEG"


@pytest.mark.parametrize(
    ("target", "words"), [("p.txt", [".png"]), ("none/p.png", ["can't write", "none/p.png"]), (".", ["is a folder"])]
)
def test_render_to_where_it_cannot(target: str, words: list[str], ecg: list[str], run: Any, tmp_path: Path) -> None:
    refused(run(["render", *ecg[1:], "-o", tmp_path / target]), *words)


def test_a_failed_writing_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "answer.json"
    target.write_text("before")

    def full(self: Path, other: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        files.write_json(target, {"after": 1})
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


# -- how it ends


def test_no_such_file(run: Any) -> None:
    refused(run(["measure", "nowhere.hea"]), "nowhere.hea")


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (InputError("one\nsentence"), 2), (PermissionError(13, "Denied", "f"), 2)],
)
def test_exit_codes(error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    def fail(arguments: Any, _: Any) -> int:
        raise error

    monkeypatch.setattr(cli.plugins, "run_list", fail)
    result = run(["list"])
    assert result[0] == code
    assert (
        result[2]
        == {130: "", 2: "llava-ecg: Denied: f\n" if isinstance(error, OSError) else "llava-ecg: one sentence\n"}[code]
    )


@pytest.mark.parametrize("error", [KeyError("bug"), OSError("a library's own message")])
def test_a_bug_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    def fail(arguments: Any, _: Any) -> int:
        raise error

    monkeypatch.setattr(cli.plugins, "run_list", fail)
    with pytest.raises(type(error)):
        run(["list"])


def test_a_closed_pipe_is_quiet() -> None:
    code = "import sys; sys.stdin.readline(); from llava_ecg.cli import main; raise SystemExit(main(['list']))"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdin is not None and child.stdout is not None
    child.stdout.close()  # before the child writes, which waits for the line
    child.stdin.write(b"go\n")
    child.stdin.close()
    assert child.stderr is not None
    assert (child.stderr.read(), child.wait()) == (b"", 141)


def test_module_entry() -> None:
    done = subprocess.run([sys.executable, "-m", "llava_ecg", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"llava-ecg {__version__}\n"


def test_several_ecgs_are_shown_each(ecg: list[str], run: Any, tmp_path: Path) -> None:
    stand_in = Assistant()
    Image.new("RGB", (60, 40), "white").save(tmp_path / "p.png")
    code, out, _ = run(
        ["ask", *ecg, "--ecg", ecg[1], "--image", str(tmp_path / "p.png"), "--out", str(tmp_path / "o")], stand_in
    )
    case = stand_in.given["case"]
    assert code == 0 and len(case.more) == 1
    assert (case.image is not None, case.more[0].recording is not None, case.more[0].image) == (True, True, None)
    assert out.count("ECG      ") == 2
    (written,) = (tmp_path / "o").glob("*.json")
    assert json.loads(written.read_text())["files"]["more"] == [str(Path(ecg[1]).resolve())]
    assert not list((tmp_path / "o").glob("*_audit.png")), "no waves are marked: of which ECG?"
    code, _, err = run(["ask", *ecg, "--ecg", ecg[1], "--page", str(tmp_path / "q.png")], Assistant())
    assert code == 2 and "several are asked about" in err
