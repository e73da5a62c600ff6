"""Distorted pages: what is marked lands where the ground truth says, and equal seeds give equal pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageDraw

from llava_ecg.cli import main
from llava_ecg.ecg.distort import KINDS, distort
from llava_ecg.ecg.render import Page, draw_page
from llava_ecg.ecg.simulate import simulate
from llava_ecg.errors import InputError

READING = ("--rate", "500", "--unit", "mV", "--leads", "standard")
MARK = (255, 0, 255)
GEOMETRY = {"wrinkles", "rotation", "perspective", "crop"}


def _page(dpi: float = 100.0, **options: Any) -> Page:
    return draw_page(simulate(seed=1)[0], dpi=dpi, **options)


def _marked(lead: str) -> tuple[Page, tuple[float, float]]:
    """A page with a disc of a colour that nothing else has, off the middle of a lead's cell."""
    page = _page(colour="grey")
    box = page.box(lead)
    x, y = box.x0 + 0.6 * (box.x1 - box.x0), box.baseline + 8 * page.px_per_mm
    ImageDraw.Draw(page.image).ellipse((x - 6.5, y - 6.5, x + 5.5, y + 5.5), fill=MARK)  # its middle is (x, y)
    return page, (x, y)


def _inside(point: np.ndarray, outline: np.ndarray) -> bool:
    """Whether a point lies in a polygon, by the crossings of a ray to the right."""
    crossed = False
    for (ax, ay), (bx, by) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if (ay > point[1]) != (by > point[1]) and point[0] < ax + (point[1] - ay) / (by - ay) * (bx - ax):
            crossed = not crossed
    return crossed


@pytest.mark.parametrize("kinds", [(kind,) for kind in KINDS] + [tuple(KINDS)], ids="+".join)
@pytest.mark.parametrize("lead", ["aVR", "V5"])
def test_a_marked_point_lands_in_the_box_that_followed_it(kinds: tuple[str, ...], lead: str) -> None:
    page, at = _marked(lead)
    for seed in (1, 2):
        made = distort(page, seed, 0.6, kinds)
        pixels = np.asarray(made.image).astype(int)
        pink = np.minimum(pixels[..., 0], pixels[..., 2]) - pixels[..., 1]
        rows, columns = np.nonzero(pink > 0.6 * pink.max())
        near = (abs(rows - np.median(rows)) < 15) & (abs(columns - np.median(columns)) < 15)
        found = np.array([columns[near].mean() + 0.5, rows[near].mean() + 0.5])
        assert len(rows) > 30 and np.abs(found - made.where([at])[0]).max() < 1.5, (seed, found, made.where([at]))
        outlines = [made.outline(box) for box in page.boxes]
        holding = [box.lead for box, each in zip(page.boxes, outlines, strict=True) if _inside(found, each)]
        assert holding == [lead]
        left, top, right, bottom = next(each for each in made.to_dict()["boxes"] if each["lead"] == lead)["box"]
        assert left < found[0] < right and top < found[1] < bottom


@pytest.mark.parametrize("kind", KINDS)
def test_a_distortion_is_seeded_changes_the_page_and_leaves_the_original(kind: str) -> None:
    page = _page(60)
    before = np.asarray(page.image).copy()
    one, again, other = (np.asarray(distort(page, seed, 0.7, [kind]).image) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert one.shape != other.shape or not np.array_equal(one, other)
    assert one.shape != before.shape or not np.array_equal(one, before)
    np.testing.assert_array_equal(before, np.asarray(page.image))
    box = page.box("V3")
    moved = np.abs(distort(page, 1, 0.7, [kind]).outline(box) - distort(page, 1, 0.0).outline(box)).max()
    assert (moved > 0.5) == (kind in GEOMETRY)


def test_without_strength_nothing_is_done_and_the_cells_of_a_page_do_not_overlap() -> None:
    page = _page(60, layout="12x1")
    made = distort(page, 3, 0.0)
    assert made.kinds == () and made.image is page.image
    boxes = [each["box"] for each in made.to_dict()["boxes"]]
    for above, below in zip(boxes[:-1], boxes[1:], strict=True):
        assert above[3] == pytest.approx(below[1], abs=0.11)


def test_a_kind_does_not_depend_on_the_others_and_seeds_draw_different_kinds() -> None:
    page = _page(60)
    alone = distort(page, 5, 0.5, ["rotation"])
    beside = distort(page, 5, 0.5, ["blur", "rotation"])
    assert beside.kinds == ("rotation", "blur"), "in the order of the table"
    np.testing.assert_array_equal(alone.where([(10.0, 20.0)]), beside.where([(10.0, 20.0)]))
    drawn = [distort(page, seed, 0.5).kinds for seed in range(6)]
    assert len(set(drawn)) > 2 and all(drawn)


def test_what_a_crop_takes_is_not_inside() -> None:
    page = _page(60)
    boxes = {
        (each["lead"], each["rhythm"]): each for each in distort(page, 0, 1.0, ["crop", "rotation"]).to_dict()["boxes"]
    }
    shares = [each["inside"] for each in boxes.values()]
    assert max(shares) == 1.0 and min(shares) < 1.0


@pytest.mark.parametrize(
    ("words", "says"),
    [((-1, 0.5, None), "0 or more"), ((1, 1.5, None), "0 to 1"), ((1, 0.5, ["blurr"]), "'blurr'")],
)
def test_impossible_distortions_are_refused(words: tuple[Any, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        distort(_page(60), *words)


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.fixture
def ecg(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a.npy"
    path.parent.mkdir()
    np.save(path, simulate(seed=1)[0].signal)
    return path


def test_render_writes_the_page_and_its_boxes(ecg: Path, tmp_path: Path) -> None:
    page, boxes = tmp_path / "p.png", tmp_path / "p.json"
    words = [str(ecg), *READING, "--dpi", "60", "-o", str(page), "--boxes", str(boxes)]
    more = ["--layout", "3x4+3", "--colour", "blue", "--paper", "a4", "--title", "Ward 3"]
    assert main(["render", *words, *more, "--distort", "0.5", "--seed", "7", "--kinds", "rotation,noise"]) == 0
    first, truth = page.read_bytes(), json.loads(boxes.read_text())
    assert truth["distortions"] == ["rotation", "noise"] and len(truth["boxes"]) == 15
    assert (truth["width"], truth["height"]) == (702, 496)
    assert main(["render", *words, *more, "--distort", "0.5", "--seed", "7", "--kinds", "rotation,noise"]) == 0
    assert page.read_bytes() == first
    assert main(["render", *words, *more]) == 0
    plain = json.loads(boxes.read_text())
    assert plain["distortions"] == [] and plain["boxes"][0]["outline"] != truth["boxes"][0]["outline"]


def test_render_of_a_folder_distorts_each_page_its_own_way(ecg: Path, tmp_path: Path) -> None:
    (ecg.parent / "b.npy").write_bytes(ecg.read_bytes())
    words = [str(ecg.parent), *READING, "--dpi", "50", "-o", str(tmp_path / "out"), "--distort", "0.5"]
    assert main(["render", *words, "--kinds", "rotation", "--boxes", str(tmp_path / "boxes")]) == 0
    one, two = (json.loads((tmp_path / "boxes" / f"{name}.json").read_text()) for name in "ab")
    assert one["boxes"][0]["outline"] != two["boxes"][0]["outline"]
    assert main(["render", *words, "--boxes", str(tmp_path / "boxes.json")]) == 2


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--seed", "3"], "--distort"),
        (["--kinds", "blur"], "--distort"),
        (["--distort", "0.5", "--kinds", "blur,fog"], "'fog'"),
        (["--title", "x" * 60], "40 letters"),
        (["--person"], "--heading"),
        (["--boxes", "b.txt"], ".json"),
    ],
)
def test_render_refuses_what_it_would_pass_over(
    flags: list[str], says: str, ecg: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", str(ecg), *READING, "-o", str(tmp_path / "p.png"), *flags]) == 2
    assert says in capsys.readouterr().err
