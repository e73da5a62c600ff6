"""Every command that README.md and docs/ tell people to type is read by the program that it calls: a flag that is not
there, or a value that can't be, fails. What is not ours is listed, with the reason."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llava_ecg.errors import InputError
from scripts.bench import first_hour
from tests.test_docs import FENCE, ROOT, commands, fault

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
TRAINING = {"pretrain", "finetune", "finetune_lora", "finetune_qlora", "train_gem"}

NOT_OURS = {
    "git": "the reader's own",
    "cd": "the shell's",
    "cp": "the reader's own; docs/first-hour.md is run by a test",
    "echo": "the shell's",
    "export": "the shell's",
    "source": "the shell's",
    ">": "what is written behind it is a file",
    "pip": "the extras that it names are held against setup.py below",
    "TEXT/bin/pip": "of an environment that is made for one bench, against other libraries",
    "TEXT/bin/python": "the same: it runs scripts/bench/claims_libraries.py, tested in tests/grounding",
    "inspect": "inspect_ai's; what it is given is tested in tests/eval/test_harness.py",
    "some_model": "stands for a program of the reader's",
    "other_model": "the same",
}
TAKES_NO_FLAG = {  # scripts that are run without words here; what they do is tested where it says
    "scripts/test.sh": "CI runs it",
    "scripts/demo.sh": "tests/train/test_scripts.py",
    "scripts/pretrain_tower.sh": "tests/train/test_scripts.py",
    "scripts/train_tiny.sh": "tests/train/test_scripts.py; its trainers are tested in tests/train",
    "scripts/train_delineator.sh": "needs ../shared/data; 20 minutes",
    "scripts/make_grounding.sh": "needs ../shared/data; three minutes",
}


RECIPES_OF_RUNS = {"out/recipe.yaml", "playground/output/first/recipe.yaml"}  # tests/train/test_docs_train.py reads one
OF_SHARDS = {
    "--fsdp",
    "--fsdp_config",
    "--deepspeed",
}  # refused in one process; tests/train/test_shards.py trains with them
ELSEWHERE = {"gguf"}  # libraries of another environment, without which a bench can't be read


class Read(Exception):
    """A script's parser has taken its words; nothing more is run."""


def wrong(words: list[str]) -> str | None:
    """What the program that a command calls has against it, or None."""
    match words:
        case ["llava-ecg", *_] | ["make", *_]:
            return fault(words)
        case ["python", "-m", "llava_ecg.train", *rest]:
            return wrong_training(rest)
        case ["torchrun", "--nproc_per_node", count, "-m", "llava_ecg.train", *rest] if count.isdigit():
            return wrong_training(without_shards(rest))
        case ["torchrun", *_]:
            return "torchrun is called otherwise than docs/train.md does"
        case ["bash", script, *rest] if Path(script).stem in TRAINING:
            return wrong_training(["--config", f"scripts/recipes/{Path(script).stem}.yaml", *rest])
        case ["bash", script, *rest]:
            listed = script in TAKES_NO_FLAG and (ROOT / script).is_file()
            return None if listed and not [word for word in rest if word.startswith("-")] else f"{script} is not listed"
        case ["python", "-m", ("pip" | "venv"), *_]:
            return None
        case ["python", "-m", module, *rest]:
            return wrong_script(ROOT / (module.replace(".", "/") + ".py"), rest)
        case ["python", script, *rest]:
            return wrong_script(ROOT / script, rest)
    return None if words[0] in NOT_OURS else f"{words[0]} is not listed"


def without_shards(words: list[str]) -> list[str]:
    """Flags of training without those that one process refuses; the files that they name are there."""
    kept, at = [], 0
    while at < len(words):
        if words[at] in OF_SHARDS:
            assert (ROOT / words[at + 1]).is_file() or words[at] == "--fsdp", words[at + 1]
            at += 2
        else:
            kept.append(words[at])
            at += 1
    return kept


def wrong_training(words: list[str]) -> str | None:
    """What the trainer's flags, with the recipe that they name, have against it."""
    from llava_ecg.train.arguments import parse

    if words[:1] == ["--config"] and words[1] in RECIPES_OF_RUNS:
        words = ["--model_name_or_path", "a", "--data_path", "b", "--output_dir", "c", *words[2:]]  # what it holds
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            parse([*words, "--dry_run", "--use_cpu"])
    except InputError as error:
        return str(error)
    except SystemExit as stopped:
        return f"ends with {stopped.code}" if stopped.code else None
    return None


def wrong_script(script: Path, words: list[str]) -> str | None:
    """What the argument parser of a script has against its words; the script goes no further than that."""
    if not script.is_file():
        return f"there is no {script.relative_to(ROOT)}"
    before, said = argparse.ArgumentParser.parse_args, io.StringIO()

    def parse_args(parser: argparse.ArgumentParser, *given: object) -> None:
        before(parser, *given)
        raise Read

    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stderr(said):
        patched.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        patched.setattr(sys, "argv", [str(script), *words])
        patched.syspath_prepend(str(ROOT))
        patched.syspath_prepend(str(script.parent))
        try:
            runpy.run_path(str(script), run_name="__main__")
        except Read:
            return None
        except ModuleNotFoundError as error:
            return None if error.name in ELSEWHERE else str(error)
        except SystemExit:
            return said.getvalue().strip().splitlines()[-1]
    return f"{script.relative_to(ROOT)} reads no flags"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_command_is_read_by_its_program(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("peft")
    monkeypatch.chdir(ROOT)  # recipes are named from there
    found = [(words, wrong(words)) for words in commands(page.read_text(encoding="utf-8"))]
    assert [f"{shlex.join(words)}: {fault}" for words, fault in found if fault] == []


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("llava-ecg ask --edg a.hea", "unrecognized arguments"),
        ("python -m llava_ecg.train --model_name_or_path a --data_path d --output_dir b --lora_enabel", "lora_enable"),
        ("torchrun --nproc_per_node 2 -m llava_ecg.train --output_dir b --lora_enabel", "required: --model_name"),
        ("torchrun --nproc_per_node 2 other.py", "called otherwise"),
        ("bash scripts/finetune_lora.sh --model_name_or_path a --data_path d --output_dir b --packink", "packing"),
        ("bash scripts/nothing.sh", "not listed"),
        ("bash scripts/train_tiny.sh --flag", "not listed"),
        ("python scripts/bench/first_hour.py --jsno a", "unrecognized arguments: --jsno"),
        ("python scripts/nothing.py", "there is no scripts/nothing.py"),
        ("rm -rf everything", "rm is not listed"),
    ],
)
def test_a_wrong_command_is_found(command: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("peft")
    monkeypatch.chdir(ROOT)
    assert expected in str(wrong(shlex.split(command)))


def test_each_name_on_the_lists_is_used() -> None:
    used = {word for page in PAGES for words in commands(page.read_text(encoding="utf-8")) for word in words[:2]}
    assert (set(NOT_OURS) | set(TAKES_NO_FLAG)) - used <= {"scripts/train_delineator.sh"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_extras_that_are_installed_exist(page: Path) -> None:
    told = (ROOT / "setup.py").read_text(encoding="utf-8")
    extras = {
        name
        for names in re.findall(r"(?:llava-ecg|\.)\[([a-z,]+)\]", page.read_text(encoding="utf-8"))
        for name in names.split(",")
    }
    assert [name for name in extras if f'    "{name}": ' not in told] == []


def sections() -> Iterator[tuple[int, str]]:
    """Number and text of each question of docs/faq.md."""
    text = (ROOT / "docs/faq.md").read_text(encoding="utf-8")
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        yield int(section.partition(".")[0]), section


def test_each_of_the_24_questions_is_answered_by_a_command() -> None:
    found = dict(sections())
    assert sorted(found) == list(range(1, 25))
    assert [number for number, text in found.items() if not list(commands("\n" + text))] == []
    assert FENCE.search(found[24])


QUICK = (
    "cp ",
    "echo ",
    "llava-ecg measure",
    "llava-ecg render",
    "llava-ecg audit",
    "llava-ecg report",
    "python playground",
)


def test_the_first_hour_without_a_model(tmp_path: Path) -> None:
    lines = [line for line in first_hour.commands(first_hour.PAGE.read_text()) if line.startswith(QUICK)]
    first_hour.run(lines, tmp_path)
    for name in ("page.png", "audit.png", "report.html", "playground/toy/train.json"):
        assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.slow
def test_the_first_hour_as_it_stands(tmp_path: Path) -> None:
    """All of it but getting and installing the program, with fewer recordings and steps."""
    pytest.importorskip("peft")
    lines = [
        line.replace("--count 40", "--count 8").replace("--max_steps 10", "--max_steps 1")
        for line in first_hour.commands(first_hour.PAGE.read_text())
    ]
    assert any("chat --model playground/output/first-hour" in line for line in lines)
    first_hour.run(lines, tmp_path)
    assert (tmp_path / "playground/output/first-hour/adapter").is_dir()


def test_the_whole_page_is_run_from_a_clone() -> None:
    page = first_hour.PAGE.read_text(encoding="utf-8")
    whole, part = list(first_hour.commands(page, from_clone=True)), list(first_hour.commands(page))
    assert whole[:3] == ["git clone ADDRESS llava-ecg", "cd llava-ecg", "bash scripts/demo.sh"]
    assert part[0].startswith("cp ")
    assert not any("pip install" in line for line in part)
    assert sum("pip install" in line for line in whole) == 1


def test_a_line_that_fails_ends_the_hour(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ended with 3: no such thing"):
        first_hour.run(["true", "echo no such thing; exit 3", "touch after"], tmp_path)
    assert not (tmp_path / "after").exists()
