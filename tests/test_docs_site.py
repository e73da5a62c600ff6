"""The documentation as a site: which pages it has, where their links lead, and that it builds without a warning."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from scripts import docs_pictures, docs_site
from scripts.bench import plot

ROOT = Path(__file__).resolve().parent.parent
MISSING = [name for name in ("mkdocs", "material", "mkdocstrings") if find_spec(name) is None]
builds = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install -e '.[docs]'")


def test_every_page_of_docs_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2].split()
    assert {page.name for page in (ROOT / "docs").glob("*.md")} | {"index.md"} <= set(menu)


def test_links_of_the_checkout_become_links_of_the_site() -> None:
    readme = docs_site.moved(
        "[a](docs/train.md#packing) [b](CONTRIBUTING.md) [c](https://a.b/c.md) [d](#e)", "README.md"
    )
    assert readme == "[a](train.md#packing) [b](project/CONTRIBUTING.md) [c](https://a.b/c.md) [d](#e)"
    page = docs_site.moved("[a](../scripts/recipes/finetune.yaml) [b](chat.md)", "docs/train.md")
    assert page == "[a](project/scripts/recipes/finetune.yaml.md) [b](chat.md)"
    assert docs_site.moved("[a](../docs/chat.md)", "checkpoints/README.md") == "[a](../../chat.md)"


def test_a_link_that_leads_nowhere_stays_for_the_builder_to_name() -> None:
    assert docs_site.moved("[a](nowhere.md)", "docs/train.md") == "[a](nowhere.md)"
    assert docs_site.moved("[a](../../outside.md)", "docs/train.md") == "[a](../../outside.md)"


def test_blocks_of_code_stay_as_they_are() -> None:
    block = "```text\n| `a\\|b` | [x](docs/train.md)\n```\n"
    assert docs_site.moved(block, "README.md") == block


def test_bars_in_tables_lose_their_backslash_within_code_alone() -> None:
    assert docs_site.moved("| `a\\|b` | c\\|d |\n`e\\|f`", "README.md") == "| `a|b` | c\\|d |\n`e\\|f`"


def test_what_pages_link_to_comes_along(tmp_path: Path) -> None:
    assert docs_site.main([str(tmp_path / "pages")]) == 0
    recipe = tmp_path / "pages/project/scripts/recipes/finetune.yaml.md"
    assert (ROOT / "scripts/recipes/finetune.yaml").read_text() in recipe.read_text()
    assert recipe.read_text().startswith("# scripts/recipes/finetune.yaml\n\n````yaml\n")
    assert (tmp_path / "pages/index.md").read_text().startswith("# llava-ecg\n")


def built(folder: Path, pages: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """The site of `pages`, built strictly by mkdocs.yml."""
    config = {
        "INHERIT": str(ROOT / "mkdocs.yml"),
        "docs_dir": str(pages),
        "site_dir": str(folder / "site"),
        "plugins": {"mkdocstrings": {"handlers": {"python": {"paths": [str(ROOT)]}}}},
        **more,
    }
    (folder / "mkdocs.yml").write_text(json.dumps(config))  # JSON is YAML
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(folder / "mkdocs.yml")]
    place = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(line, cwd=folder, env=place, capture_output=True, text=True, timeout=300, check=False)


@builds
def test_it_builds_strictly(tmp_path: Path) -> None:
    docs_site.main([str(tmp_path / "pages")])
    ended = built(tmp_path, tmp_path / "pages")
    assert ended.returncode == 0, ended.stderr[-3000:]
    api = (tmp_path / "site/api.html").read_text(encoding="utf-8")
    assert "samples a second, Hz" in api, "the API reference does not hold the docstring of read"
    assert ":::" not in api
    assert list((tmp_path / "site/pictures").glob("*.png"))


@builds
def test_a_broken_link_ends_the_build(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    for text, code in (("# A\n\n[nowhere](nowhere.md)\n", 1), ("# A\n\n[here](index.md)\n", 0)):
        (tmp_path / "pages/index.md").write_text(text)
        ended = built(tmp_path, tmp_path / "pages", nav=[{"Home": "index.md"}])
        assert ended.returncode == code, ended.stderr[-3000:]
        assert ("nowhere.md" in ended.stderr) == bool(code)


def test_each_picture_is_small_and_shown() -> None:
    pictures = {path.name: path.stat().st_size for path in (ROOT / "docs/pictures").iterdir()}
    shown = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert {f"{name}.png" for name in ("page", "audit", "chat", "report", "speed", "view")} <= set(pictures)
    assert [name for name, size in pictures.items() if size >= docs_pictures.LARGEST] == []
    assert [name for name in pictures if f"](pictures/{name})" not in shown] == []


@pytest.mark.parametrize("name", ["page", "speed"])
def test_a_picture_is_made_by_its_command(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert docs_pictures.main(["--only", name, "--out", str(tmp_path)]) == 0
    assert f"{name}.png" in capsys.readouterr().out
    with Image.open(tmp_path / f"{name}.png") as made, Image.open(ROOT / f"docs/pictures/{name}.png") as kept:
        assert made.size == kept.size
        difference = ImageChops.difference(made.convert("L"), kept.convert("L"))
    # the page's heading tells the version, so it may differ a little; a bar that moves changes more
    assert ImageStat.Stat(difference).mean[0] < (4 if name == "page" else 0.2), f"{name}.png is old: make docs-pictures"


def test_the_plot_follows_the_results(tmp_path: Path) -> None:
    before = plot.plot(plot.RESULTS)
    shutil.copytree(plot.RESULTS, tmp_path / "results")
    told = json.loads((tmp_path / "results/batch_cpu.json").read_text())
    (tmp_path / "results/batch_cpu.json").write_text(json.dumps(told | {"ratio": told["ratio"] / 2}))
    difference = ImageChops.difference(before, plot.plot(tmp_path / "results")).getbbox()
    assert difference is not None and plot.TOP + plot.ROW <= difference[1] < difference[3] <= plot.TOP + 2 * plot.ROW


def test_an_unknown_picture_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        docs_pictures.main(["--only", "page,pige", "--out", str(tmp_path)])
    assert "no picture is named pige; there are page, audit, chat, report" in capsys.readouterr().err


def test_without_chromium_its_pictures_are_left_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(docs_pictures, "CHROMIUM", None)
    assert docs_pictures.main(["--only", "chat,report", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("Chromium is not installed") == 2
    assert list(tmp_path.iterdir()) == []


def test_what_is_empty_below_is_cut_off(tmp_path: Path) -> None:
    sheet = Image.new("RGB", (50, 400), "black")
    sheet.paste("white", (5, 10, 20, 100))
    sheet.save(tmp_path / "a.png")
    docs_pictures.trim(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as cut:
        assert cut.size == (50, 116)


def test_a_picture_is_kept_in_fewer_colours_until_it_is_small(tmp_path: Path) -> None:
    noise = Image.effect_noise((2200, 600), 60)
    noise.convert("RGB").save(tmp_path / "a.png")
    size = docs_pictures.keep(tmp_path / "a.png", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as kept:
        assert kept.size == (docs_pictures.WIDEST, 300)
    assert size == (tmp_path / "b.png").stat().st_size < docs_pictures.LARGEST < (tmp_path / "a.png").stat().st_size
