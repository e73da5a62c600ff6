"""Lays out the pages of the documentation site, for mkdocs.yml: docs/ as it is, README.md as the first page, and what
they link to outside docs/.

    python scripts/docs_site.py [OUT]            OUT is build/docs if it is not given; `make docs` runs this first

A page is written to be read in the checkout too, so its links are those of the checkout
(`../scripts/recipes/finetune.yaml`). On the site the file behind such a link is a page under `project/`: Markdown as it
is, any other text in a block of code. Needs nothing but Python, and knows nothing of the program that builds the site.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
DOCS = "docs"
FIRST = "README.md"
ALSO = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "checkpoints/README.md", "findings/README.md")
FENCE = re.compile(r"^( *)```.*?^\1```[ ]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")
ROW = re.compile(r"^\|.*\|$", re.MULTILINE)
CODE = re.compile(r"`[^`\n]+`")
LANGUAGES = {".py": "python", ".sh": "bash", ".yaml": "yaml", ".json": "json", ".toml": "toml", ".css": "css"}


def main(words: list[str]) -> int:
    """Write the pages into the folder named, anew."""
    out = Path(words[0]) if words else ROOT / "build" / "docs"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(ROOT / DOCS, out)
    for origin in sorted(origins()):
        place = out / place_of(origin)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(page_of(origin), encoding="utf-8")
    return 0


def origins() -> set[str]:
    """The files of the checkout that are pages of the site: docs/, README.md, the project's own, and whatever any of
    them links to."""
    found: set[str] = set()
    waiting = {FIRST, *ALSO, *(f"{DOCS}/{page.name}" for page in (ROOT / DOCS).glob("*.md"))}
    while waiting:
        origin = waiting.pop()
        found.add(origin)
        if origin.endswith(".md"):
            waiting |= linked(origin) - found
    return found


def linked(origin: str) -> set[str]:
    """The files outside docs/ that the links of a page lead to."""
    prose = FENCE.sub("", (ROOT / origin).read_text(encoding="utf-8"))
    targets = (target_of(link, origin) for _, link, _, _ in LINK.findall(prose))
    return {target for target in targets if target and PurePosixPath(target).parts[0] != DOCS}


def target_of(link: str, origin: str) -> str | None:
    """The file of the checkout that a link in `origin` leads to, or None where there is none."""
    target = os.path.normpath(PurePosixPath(origin).parent / link)
    return target if not target.startswith("..") and (ROOT / target).is_file() else None


def place_of(origin: str) -> str:
    """Where the site has a file of the checkout: `docs/a.md` -> `a.md`, `x/b.md` -> `project/x/b.md`, and a file that
    is no Markdown as a page of its own, `x/c.sh` -> `project/x/c.sh.md`."""
    path = PurePosixPath(origin)
    if path.parts[0] == DOCS:
        return str(path.relative_to(DOCS))
    if origin == FIRST:
        return "index.md"
    return f"project/{origin}" + ("" if path.suffix == ".md" else ".md")


def page_of(origin: str) -> str:
    """The text of a page of the site."""
    text = (ROOT / origin).read_text(encoding="utf-8")
    if origin.endswith(".md"):
        return moved(text, origin)
    return f"# {origin}\n\n````{LANGUAGES.get(Path(origin).suffix, 'text')}\n{text}\n````\n"


def moved(text: str, origin: str) -> str:
    """A page's text with its links as they are on the site; blocks of code stay as they are, and so does a link that
    leads nowhere, for the builder to name it."""
    here = PurePosixPath(place_of(origin)).parent

    def follow(match: re.Match[str]) -> str:
        before, link, anchor, behind = match.groups()
        target = target_of(link, origin)
        if target is None:
            return match.group(0)
        return f"{before}{os.path.relpath(place_of(target), here)}{anchor or ''}{behind}"

    parts, end = [], 0
    for block in FENCE.finditer(text):
        parts += [bars(LINK.sub(follow, text[end : block.start()])), block.group(0)]
        end = block.end()
    return "".join([*parts, bars(LINK.sub(follow, text[end:]))])


def bars(prose: str) -> str:
    """A bar within code in a table stands as `\\|` in the checkout, as GitHub wants it; Python-Markdown shows the
    backslash."""
    return ROW.sub(lambda row: CODE.sub(lambda code: code.group(0).replace("\\|", "|"), row.group(0)), prose)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
