"""Slips on the command line that would otherwise pass in silence, or cost an answer that was kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llava_ecg import cli, files
from llava_ecg.case import Case
from llava_ecg.cli.flags import DEFAULT_MODEL
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line with a model that says its question: (exit code, standard output, standard error)."""

    class Assistant:
        name = "stand-in"

        def ask(self, turns: Any, case: Any, decoding: Any, **_: Any) -> Any:
            from llava_ecg.assistant import Answer
            from llava_ecg.grounding.audit import audit

            return Answer(
                turns[-1].text,
                self.name,
                {"new": 1},
                {"total": 1.0},
                "stop",
                (),
                audit("Rate 72 bpm.", case.measurements),
            )

    def run(*words: Any) -> tuple[int, str, str]:
        opener: Any = lambda model, **more: Assistant()  # noqa: E731
        try:
            code = cli.main([str(word) for word in words], open_assistant=opener)
        except SystemExit as left:
            code = int(str(left.code))
        return code, *capsys.readouterr()

    return run


def refused(result: tuple[int, str, str], sentence: str) -> None:
    code, out, err = result
    assert (code, out) == (2, "") and err.splitlines()[-1].endswith(f"error: {sentence}"), err


# -- a value twice


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["chat", "--ecg", "a", "--ecg", "b"],
            "argument --ecg: it is given twice (a and b) and takes one recording at a time; give it once",
        ),
        (
            ["chat", "--image", "a", "--image=b"],
            "argument --image: it is given twice (a and b) and takes one image at a time; give it once",
        ),
        (
            ["ask", "--model", "a", "--model", "a"],
            "argument --model: it is given twice (a and a) and takes one model at a time; give it once",
        ),
        (["audit", "--ecg", "a", "--ecg", "b", "--text", "c"], "takes one recording at a time; give it once"),
        (["audit", "--text", "a", "--text", "b"], "takes one text at a time; give it once"),
        (
            ["ask", "--seed", "1", "--rate", "500", "--rate", "250"],
            "(500.0 and 250.0) and takes one value at a time; give it once",
        ),
        (["ask", "--dtype", "float32", "--dtype", "bfloat16"], "takes one value at a time; give it once"),
        (
            ["render", "a", "-o", "b.png", "--output", "c.png"],
            "(b.png and c.png) and takes one value at a time; give it once",
        ),
        (["measure", "a", "--leads", "I", "--leads", "II"], "takes one value at a time; give it once"),
        (["inspect", "a", "--base", "b", "--base", "c"], "takes one value at a time; give it once"),
        (["convert", "a", "b", "--to", "ours", "--to", "llava"], "takes one value at a time; give it once"),
        (["fetch", "--from", "a", "--from", "b"], "takes one value at a time; give it once"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_a_flag_that_is_given_twice(
    words: list[str], sentence: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "") and err.splitlines()[-1].endswith(sentence), err


def test_once_is_each_time_anew() -> None:
    """One parser may parse several lines, and a default or a switch is no value given."""
    parser = cli.build_parser()
    for name in ("a", "b"):
        found = parser.parse_args(
            ["ask", "why", "--ecg", name, "--json", "--json", "--prepare", "ecg.rate=1", "--prepare", "ecg.rate=2"]
        )
        assert (found.ecg[0], found.model, found.question, len(found.prepare)) == (Path(name), DEFAULT_MODEL, "why", 2)


# -- a flag that is none

COMMANDS = ["ask", "chat", "audit", "measure", "render", "list", "fetch", "inspect", "convert", "merge"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_the_nearest_flag(command: str, run: Run) -> None:
    given = {"audit": ["--ecg", "a", "--text", "b"], "measure": ["a"], "render": ["a", "-o", "b.png"], "inspect": ["a"]}
    given |= {"convert": ["a", "b", "--to", "ours"], "merge": ["a", "b"]}
    near = {
        "list": "--help",
        "fetch": "--from",
        "chat": "--image",
        "render": "--dpi",
        "convert": "--to",
        "merge": "--base",
    }
    flag = near.get(command, "--json")
    typed = {
        "--help": "--hlep",
        "--from": "--form",
        "--image": "--imgae",
        "--dpi": "--dip",
        "--to": "--too",
        "--base": "--bsae",
    }
    slip = typed.get(flag, "--jsno")
    refused(run(command, *given.get(command, []), slip), f"unrecognized arguments: {slip}; did you mean {flag}?")


def test_other_slips(run: Run) -> None:
    refused(
        run("audit", "--ecgg", "a", "--text", "b"),
        "the following arguments are required: --ecg; did you mean --ecg by --ecgg?",
    )
    refused(
        run("ask", "--max_new_tokens=5"), "unrecognized arguments: --max_new_tokens=5; did you mean --max-new-tokens?"
    )
    refused(run("measure", "a", "-json"), "unrecognized arguments: -json; did you mean --json?")
    refused(run("measure", "a", "--frobnicate"), "unrecognized arguments: --frobnicate")
    refused(run("measure", "a", "b"), "unrecognized arguments: b")
    refused(run("measure", "--", "a", "--jsno"), "unrecognized arguments: --jsno")
    code, _, err = run("--versoin")
    assert code == 2 and err.splitlines()[-1].endswith("; did you mean --version by --versoin?"), err


# -- a path where a recording is wanted


@pytest.mark.parametrize("given", ["rec.hea", Path("rec.hea")])
def test_a_case_refuses_a_path_at_once(given: Any) -> None:
    with pytest.raises(
        InputError, match=r"a Case takes a Recording, not 'rec.hea'; read a file with llava_ecg.ecg.read\(FILE\)"
    ):
        Case(given)
    with pytest.raises(InputError, match=r"a Case takes an image of Pillow, not 'rec.hea'; read it with .*read_image"):
        Case(image=given)


def test_a_case_refuses_an_array_at_once() -> None:
    array: Any = np.zeros((12, 5000))
    with pytest.raises(
        InputError, match="a Case takes a Recording, not a ndarray; .* put an array into llava_ecg.ecg.Recording"
    ):
        Case(array)


# -- an answer that is there already


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """a/rec.npz and b/rec.npz."""
    for seed, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        recording = simulate(Heart(rate_bpm=72), seed=seed)[0]
        np.savez(tmp_path / folder / "rec.npz", signal=recording.signal, rate=500, unit="mV", leads=recording.leads)
    return tmp_path / "a" / "rec.npz", tmp_path / "b" / "rec.npz"


def kept(folder: Path) -> dict[str, str]:
    """Name -> answer of every JSON in the folder."""
    return {path.name: json.loads(path.read_text())["answer"] for path in sorted(folder.glob("*.json"))}


def test_two_files_of_one_name_keep_their_answers(two: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("ask", "--ecg", two[0], "--out", out, "first?")[0] == 0
    page = (out / "rec_page.png").read_bytes()
    code, said, err = run("ask", "--ecg", two[1], "--out", out, "second?")
    assert code == 0 and f"JSON     {out / 'rec-2_answer.json'}" in said
    assert (
        f"{out / 'rec_answer.json'} is not about this file and stays; this answer is {out / 'rec-2_answer.json'}" in err
    )
    assert kept(out) == {"rec_answer.json": "first?", "rec-2_answer.json": "second?"}
    assert (out / "rec_page.png").read_bytes() == page and (out / "rec-2_page.png").read_bytes() != page
    assert {path.name for path in out.glob("*_audit.png")} == {"rec_audit.png", "rec-2_audit.png"}
    for path, answer in zip(two, ("third?", "fourth?"), strict=True):  # the same files again replace their own
        run("ask", "--ecg", path, "--out", out, answer)
    assert kept(out) == {"rec_answer.json": "third?", "rec-2_answer.json": "fourth?"}


def test_relative_names_are_not_taken_for_each_other(two: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    before = Path.cwd()
    try:
        for path in two:
            os.chdir(path.parent)
            assert run("ask", "--ecg", path.name, "--out", tmp_path / "out", path.parent.name)[0] == 0
    finally:
        os.chdir(before)
    assert kept(tmp_path / "out") == {"rec_answer.json": "a", "rec-2_answer.json": "b"}
    (tmp_path / "link").symlink_to(two[0].parent)
    assert run("ask", "--ecg", tmp_path / "b" / ".." / "link" / "rec.npz", "--out", tmp_path / "out", "again")[0] == 0
    assert kept(tmp_path / "out") == {"rec_answer.json": "again", "rec-2_answer.json": "b"}


def test_images_and_files_that_are_no_answer(two: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "rec_answer.json").write_text("[1, 2")
    for path in two:
        Image.new("RGB", (64, 64)).save(path.with_suffix(".png"))
    found = json.loads(run("ask", "--image", two[0].with_suffix(".png"), "--out", out, "--json", "one")[1])
    assert found["files"] == {"ecg": None, "image": str(two[0].with_suffix(".png").resolve())} and found["page"] == str(
        out / "rec-2_page.png"
    )
    run("ask", "--image", two[1].with_suffix(".png"), "--out", out, "two")
    run("ask", "--ecg", two[0], "--image", two[0].with_suffix(".png"), "--out", out, "three")
    assert (out / "rec_answer.json").read_text() == "[1, 2"
    (out / "rec_answer.json").unlink()
    assert kept(out) == {"rec-2_answer.json": "one", "rec-3_answer.json": "two", "rec-4_answer.json": "three"}


# -- who the file says it is


@pytest.mark.parametrize(
    ("said", "typed"), [({"sex": 1, "age": "63"}, {"sex": "female", "age": 63.0}), ({"sex": [1], "age": {}}, {})]
)
def test_a_sidecar_with_odd_values_costs_no_answer(
    said: Any, typed: Any, two: tuple[Path, Path], run: Run, tmp_path: Path
) -> None:
    two[0].with_suffix(".json").write_text(json.dumps(said))
    code, out, _ = run("ask", "--ecg", two[0], "--json")
    assert code == 0 and json.loads(out)["recording"]["metadata"] == typed


# -- asking again


def test_revising_needs_one_signal(run: Run, tmp_path: Any) -> None:
    page = tmp_path / "page.png"
    page.write_bytes(b"")
    begin = "llava-ecg: --revise asks again where the signal contradicts an answer, and "
    for words, why in (
        (["--image", page], "there is only an image"),
        (["--ecg", "a.hea", "--ecg", "b.hea"], "several ECGs are asked about"),
        (["--ecg", tmp_path, "--out", tmp_path / "a.jsonl"], "each of many ECGs is asked about once"),
    ):
        assert run("ask", *words, "--revise", "1") == (2, "", f"{begin}{why}; leave it away\n")
    refused(
        run("ask", "--ecg", "a.hea", "--revise", "-1"),
        "argument --revise: revise must be a whole number from 0 to 9, not '-1'",
    )


@pytest.mark.parametrize("named", ["x", "x.dat", "x.hea"])
def test_a_record_is_not_written_over_by_a_part_of_it(
    named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = simulate(Heart(rate_bpm=70), seed=1, seconds=10.0)[0]
    files.write_recording(recording, tmp_path / "x.hea")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert cli.main(["convert-ecg", str(tmp_path / named), str(tmp_path / "x.hea"), "--seconds", "2"]) == 2
    assert "would be written over itself" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
