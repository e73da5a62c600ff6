"""Checkpoints on the command line: how a model is opened, and ``inspect``, ``convert``, ``merge``. What they call is a
stand-in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from llava_ecg import cli
from llava_ecg.cli.flags import opening, revise
from llava_ecg.errors import InputError

FAKE_REPORT = """
import sys, types
class Report:
    def lines(self): return ["layout   llava"]
    def to_dict(self): return {"layout": "llava"}
fake = types.ModuleType("llava_ecg.checkpoint.inspect")
fake.inspect = lambda path, **parts: Report()
sys.modules["llava_ecg.checkpoint.inspect"] = fake
"""


def run(*words: object) -> int:
    """The exit code of a command line."""
    return cli.main([str(word) for word in words])


def opened(*words: str, command: str = "ask") -> dict[str, Any]:
    """What an opener is given for these flags."""
    return opening(cli.build_parser().parse_args([command, *words]))


# -- how a model is opened


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_without_flags_an_opener_gets_only_device_and_dtype_and_gem_tiny_the_quickest_way(command: str) -> None:
    plain: dict[str, Any] = {"device": None, "dtype": None}
    assert opened("--model", "GEM-7B", command=command) == plain
    assert opened(command=command) == plain | {"quantization": "auto"}
    assert opened("--quantization", "none", command=command) == plain | {"quantization": "none"}
    assert opened("--dtype", "float32", command=command) == plain | {"dtype": "float32"}
    assert opened("--model", "GEM-7B", "--quantization", "auto", command=command) == plain | {"quantization": "auto"}


def test_gem_tiny_alone_is_asked_again_unless_a_flag_says_otherwise() -> None:
    def most(*words: str) -> int:
        return revise(cli.build_parser().parse_args(["ask", *words]))

    assert (most(), most("--model", "GEM-7B"), most("--revise", "0"), most("--model", "x", "--revise", "3")) == (
        2,
        0,
        0,
        3,
    )


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_every_flag_of_a_model_arrives(command: str) -> None:
    words = [
        "--device",
        "cuda:1",
        "--dtype",
        "float16",
        "--quantization",
        "nf4",
        "--ecg-tower",
        "coca.pt",
        "--vision-tower",
        "openai/clip",
    ]
    words += ["--base", "vicuna", "--template", "llava_v1", "--trust-pickle", "--no-strict"]
    words += ["--prepare", "image.aspect=pad", "--prepare", "ecg.rate=500", "--prepare", "image.merge=flat"]
    assert opened(*words, command=command) == {
        "device": "cuda:1",
        "dtype": "float16",
        "quantization": "nf4",
        "ecg_tower": "coca.pt",
        "vision_tower": "openai/clip",
        "base": "vicuna",
        "template": "llava_v1",
        "preparation": {"image": {"aspect": "pad", "merge": "flat"}, "ecg": {"rate": 500}},
        "strict": False,
        "trust_pickle": True,
    }


def test_the_flags_reach_the_opener(tmp_path: Path) -> None:
    from PIL import Image

    given: dict[str, Any] = {}

    def opener(model: str, **parts: Any) -> Any:
        given.update(parts, model=model)
        raise InputError("seen")

    Image.new("RGB", (64, 64)).save(tmp_path / "page.png")
    words = [
        "ask",
        "--image",
        str(tmp_path / "page.png"),
        "--model",
        "./GEM-7B",
        "--quantization",
        "int8",
        "--trust-pickle",
    ]
    assert cli.main(words, open_assistant=opener) == 2
    assert given == {"model": "./GEM-7B", "device": None, "dtype": None, "quantization": "int8", "trust_pickle": True}


def test_an_opener_of_two_arguments_still_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    def opener(model: str, device: str | None = None, dtype: str | None = None) -> Any:
        raise InputError(f"{model} {device} {dtype}")

    Image.new("RGB", (64, 64)).save(tmp_path / "page.png")
    assert cli.main(["chat", "--image", str(tmp_path / "page.png"), "--dtype", "float32"], open_assistant=opener) == 2
    assert capsys.readouterr().err.endswith("llava-ecg: gem-tiny None float32\n")


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("image.aspect=pad", "pad"),
        ("image.aspect= pad ", "pad"),
        ("image.aspect=500", 500),
        ("image.aspect=0.5", 0.5),
        ("image.aspect=null", None),
        ("image.aspect=false", False),
        ("image.aspect=[[336,672],[672,336]]", [[336, 672], [672, 336]]),
        ('image.aspect="500"', "500"),
        ("image.aspect=[1,", "[1,"),
        ("image.aspect=a=b", "a=b"),
        ("image.aspect=1.5.2", "1.5.2"),
        ("image.aspect=NaN", "NaN"),
        ("image.aspect=-Infinity", "-Infinity"),
        ("image.aspect=1e999", "1e999"),
        ("image.aspect=" + "9" * 5000, "9" * 5000),
        ("image.aspect=" + "[" * 100_000, "[" * 100_000),
    ],
    ids=lambda text: str(text)[:40],
)
def test_a_preparation_is_json_or_else_text(typed: str, value: Any) -> None:
    [(stream, settings)] = opened("--prepare", typed)["preparation"].items()
    assert (stream, settings) == ("image", {"aspect": value})
    assert type(settings["aspect"]) is type(value)


def test_the_last_of_two_settings_counts_and_parsers_share_nothing() -> None:
    assert opened("--prepare", "ecg.rate=250", "--prepare", "ecg.rate=500")["preparation"] == {"ecg": {"rate": 500}}
    assert "preparation" not in opened()


@pytest.mark.parametrize(
    "words",
    [
        ["ask", "--prepare", "aspect=pad"],
        ["ask", "--prepare", "image.aspect"],
        ["ask", "--prepare", "image.aspect="],
        ["ask", "--prepare", "image.=pad"],
        ["ask", "--prepare", ".aspect=pad"],
        ["ask", "--prepare", "the image.aspect=pad"],
        ["ask", "--prepare", ""],
    ],
)
def test_a_malformed_preparation_is_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    assert left.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert (
        said.startswith("llava-ecg ask: error: argument --prepare: ")
        and "image.aspect=pad" in said
        and repr(words[-1]) in said
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ask", "--quantization", "int4"], "invalid choice: 'int4'"),
        (["ask", "--base", ""], "--base: a name or a path is needed"),
        (["chat", "--ecg-tower", " "], "--ecg-tower: a name or a path is needed"),
        (["inspect"], "PATH"),
        (["inspect", ""], "PATH: a name or a path is needed"),
        (["inspect", "x", "--trust-pickle"], "unrecognized arguments: --trust-pickle"),
        (["convert", "a", "b"], "--to"),
        (["convert", "a", "b", "--to", "gguf"], "invalid choice: 'gguf'"),
        (["convert", "a", "", "--to", "llava"], "DST: a name or a path is needed"),
        (["convert", "a", "--to", "llava"], "DST"),
        (
            ["convert", "a", "b", "--to", "ours", "--shard-size", "0"],
            "shard-size must be a number from 0.001 to 10000, not '0'",
        ),
        (["convert", "a", "b", "--to", "ours", "--shard-size", "nan"], "shard-size"),
        (["merge", "lora", "--base", "base"], "DST"),
        (["merge", "lora", "out", "--ecg-tower", "x"], "unrecognized arguments"),
    ],
)
def test_what_argparse_refuses(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    assert left.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


# -- inspect


class Report:
    """A report with a name in it that would clear the screen."""

    def lines(self) -> list[str]:
        return ["layout   llava", "left over   evil\x1b[2J"]

    def to_dict(self) -> dict[str, Any]:
        return {"layout": "llava", "left_over": ["évil\x1b"]}


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the stand-in for llava_ecg.checkpoint.inspect was asked; it prints as a careless library would."""
    calls: list[Any] = []

    def inspect(path: str, **parts: Any) -> Report:
        print("chatter")
        calls.append((path, parts))
        if path == "none":
            raise InputError("none: no such\nfolder")
        return Report()

    stand_in: Any = ModuleType("llava_ecg.checkpoint.inspect")
    stand_in.inspect = inspect
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    return calls


def test_inspect_prints_lines_that_steer_no_terminal(reported: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", "gem") == 0
    assert capsys.readouterr().out == "layout   llava\nleft over   evil\\x1b[2J\n"
    assert reported == [("gem", {"base": None, "ecg_tower": None, "vision_tower": None})]


def test_inspect_json_is_one_object_and_nothing_else(reported: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", "--json", "--base", "b", "--ecg-tower", "e.pt", "--vision-tower", "v", "gem") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and json.loads(out) == Report().to_dict()
    assert reported == [("gem", {"base": "b", "ecg_tower": "e.pt", "vision_tower": "v"})]


def test_inspect_of_what_is_none(reported: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", "none", "--json") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines()[-1] == "llava-ecg: none: no such folder"


def test_inspect_itself_imports_no_torch() -> None:
    heavy = "[name for name in ('torch', 'transformers', 'numpy', 'scipy', 'PIL') if name in sys.modules]"
    code = f"{FAKE_REPORT}\nfrom llava_ecg.cli import main\nmain(['inspect', 'gem', '--json'])\nprint({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ['{"layout": "llava"}', "[]"]


# -- convert and merge


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the stand-in for llava_ecg.model.convert was asked: (name, positional, keyword arguments)."""
    calls: list[Any] = []

    def writer(name: str) -> Callable[..., Path]:
        def write(*words: Any, progress: Callable[[str], None], **parts: Any) -> Path:
            print("chatter")
            calls.append((name, words, parts))
            if words[0] == "none":
                raise InputError("none: no such folder")
            if words[0] == "stopped":
                raise KeyboardInterrupt
            progress("file 1 of 2")
            progress("file 2 of 2\x1b[2J")
            return Path(words[1]).absolute()

        return write

    stand_in: Any = ModuleType("llava_ecg.model.convert")
    stand_in.convert, stand_in.merge = writer("convert"), writer("merge")
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    return calls


def test_convert_prints_the_path_and_shows_progress_on_stderr(
    written: list[Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("convert", "gem", tmp_path / "out", "--to", "llava") == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'out'}\n"
    assert err == "chatter\nfile 1 of 2\nfile 2 of 2\\x1b[2J\n"
    parts = {"base": None, "ecg_tower": None, "vision_tower": None, "trust_pickle": False, "shard_size": 5 * 10**9}
    assert written == [("convert", ("gem", tmp_path / "out", "llava"), parts)]


@pytest.mark.parametrize("to", ["llava", "ours", "encoder"])
def test_every_flag_of_convert_arrives(to: str, written: list[Any]) -> None:
    words = ["--base", "b", "--ecg-tower", "e.pt", "--vision-tower", "v", "--trust-pickle", "--shard-size", "0.25"]
    assert run("convert", "gem", "out", "--to", to, *words) == 0
    parts = {"base": "b", "ecg_tower": "e.pt", "vision_tower": "v", "trust_pickle": True, "shard_size": 250_000_000}
    assert written == [("convert", ("gem", Path("out"), to), parts)]


@pytest.mark.parametrize(
    "words",
    [("lora", "--base", "base", "out"), ("lora", "out", "--base", "base"), ("--base", "base", "lora", "out")],
    ids=" ".join,
)
def test_merge_takes_its_words_in_any_order(
    words: tuple[str, ...], written: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("merge", *words) == 0
    assert written == [
        ("merge", ("lora", Path("out")), {"base": "base", "trust_pickle": False, "shard_size": 5 * 10**9})
    ]
    out, err = capsys.readouterr()
    assert out == f"{Path('out').absolute()}\n" and "file 1 of 2\n" in err


def test_merge_may_find_its_base_in_the_adapter(written: list[Any]) -> None:
    assert run("merge", "lora", "out", "--trust-pickle", "--shard-size", "1") == 0
    assert written == [("merge", ("lora", Path("out")), {"base": None, "trust_pickle": True, "shard_size": 10**9})]


@pytest.mark.parametrize(
    "words", [("convert", "none", "out", "--to", "ours"), ("merge", "none", "out")], ids=lambda words: words[0]
)
def test_what_cannot_be_written_is_one_sentence(
    words: tuple[str, ...], written: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err == "chatter\nllava-ecg: none: no such folder\n"
    assert run(words[0], "stopped", *words[2:]) == 130
    assert capsys.readouterr().out == ""
