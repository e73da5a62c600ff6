"""What the README and docs/ tell people to type exists, with those flags, and what they link to is there."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from llava_ecg.cli import build_parser

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "checkpoints/README.md",
        "playground/README.md",
        "findings/README.md",
    )
] + sorted(ROOT.glob("docs/*.md"))
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command in the ``bash`` blocks of a page, cut at pipes, redirections and ``&&``; assignments
    are left out."""
    for language, block in FENCE.findall(text):
        if language not in ("bash", "sh"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in lexer:
                if set(word) <= set("|&;<>"):
                    if words:
                        yield words
                    words = [">"] if word[0] in "<>" else []
                elif words or not re.fullmatch(r"[A-Z_]+=.*", word):
                    words.append(word)
            if words:
                yield words


def fault(words: list[str]) -> str | None:
    """What is wrong with one command, or None; commands of other programs are not ours to judge."""
    match words:
        case ["llava-ecg", *rest]:
            said = io.StringIO()
            try:
                with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                    build_parser().parse_args(rest)
            except SystemExit as stopped:
                if stopped.code:
                    return said.getvalue().strip().splitlines()[-1]
        case ["bash", script, *_] if not (ROOT / script).is_file():
            return f"there is no {script}"
        case ["python", "-m", module, *_] if module.split(".")[0] == "llava_ecg" and find_spec(module) is None:
            return f"there is no module {module}"
        case ["python", script, *_] if script.endswith(".py") and not (ROOT / script).is_file():
            return f"there is no {script}"
        case ["make", target, *_] if not re.search(
            rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
        ):
            return f"the Makefile has no target {target}"
    return None


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = [f"{' '.join(words)}: {wrong}" for words in commands(text) if (wrong := fault(words))]
    found += [
        f"there is no {script}"
        for script in re.findall(r"scripts/[\w/]+\.(?:sh|py)", text)
        if not (ROOT / script).is_file()
    ]
    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    broken = []
    for link in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_nothing_waits_to_be_filled_in(page: Path) -> None:
    """A word in capitals alone on its line is what a writer leaves for a table that is to come."""
    assert re.findall(r"^[A-Z]{4,}$", page.read_text(encoding="utf-8"), re.MULTILINE) == []


def test_the_readme_names_the_two_commands() -> None:
    found = list(commands((ROOT / "README.md").read_text(encoding="utf-8")))
    assert ["bash", "scripts/demo.sh"] in found
    assert ["bash", "scripts/test.sh"] in found
    assert {"ask", "chat", "measure", "render", "list"} <= {words[1] for words in found if words[0] == "llava-ecg"}


def test_commands_are_found_in_a_page() -> None:
    page = "```bash\n# a comment\nX=1 llava-ecg ask --ecg a.hea \\\n  'why | so' | tee out && make test > log\n```\n"
    page += "```text\nllava-ecg nothing\n```\n"
    assert list(commands(page)) == [
        ["llava-ecg", "ask", "--ecg", "a.hea", "why | so"],
        ["tee", "out"],
        ["make", "test"],
        [">", "log"],
    ]


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("llava-ecg ask --ecg a.hea 'What is the rate?'", None),
        ("llava-ecg --version", None),
        ("llava-ecg interpret a.hea", "invalid choice"),
        ("llava-ecg ask --edg a.hea", "unrecognized arguments"),
        ("bash scripts/test.sh tests", None),
        ("bash scripts/nothing.sh", "there is no scripts/nothing.sh"),
        ("python -m llava_ecg.nothing", "there is no module"),
        ("make coffee", "no target coffee"),
        ("git clone somewhere", None),
    ],
)
def test_a_wrong_command_is_found(command: str, wrong: str | None) -> None:
    found = fault(shlex.split(command))
    assert found is None if wrong is None else found is not None and wrong in found
