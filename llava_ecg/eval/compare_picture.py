"""`draw`: a comparison as a picture; a panel for each figure, runs as dots with intervals, published ones hollow."""

from __future__ import annotations

from itertools import groupby

from PIL import Image, ImageDraw, ImageFont

from llava_ecg.eval.compare import Row, Table

_WIDTH, _LEFT, _RIGHT, _LINE, _HEAD, _GAP = 1400, 460, 150, 30, 40, 26
_INK, _GREY, _RUN = "#202020", "#a0a0a0", ("#0b62a4", "#c0392b", "#1e8449", "#7d3c98", "#b9770e")
_HOLLOW = {"published": _INK, "chance": _GREY, "majority": _GREY}


def draw(table: Table) -> Image.Image:
    """The table, as large as its rows need; a row without a figure has no dot."""
    panels = [list(rows) for _, rows in groupby(table.rows, lambda row: (row.task, row.metric))]
    height = sum(_HEAD + _LINE * len(rows) + _GAP for rows in panels) + _GAP
    image = Image.new("RGB", (_WIDTH, max(height, 2 * _GAP)), "white")
    canvas = ImageDraw.Draw(image)
    colours = {name: _RUN[place % len(_RUN)] for place, name in enumerate(_runs(table))}
    top = _GAP
    for rows in panels:
        _panel(canvas, rows, top, colours)
        top += _HEAD + _LINE * len(rows) + _GAP
    return image


def _runs(table: Table) -> list[str]:
    return list(dict.fromkeys(row.name for row in table.rows if row.kind == "run"))


def _panel(canvas: ImageDraw.ImageDraw, rows: list[Row], top: int, colours: dict[str, str]) -> None:
    low, high = _range(rows)
    font, bold = ImageFont.load_default(size=17), ImageFont.load_default(size=20)

    def at(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    canvas.text((20, top), f"{rows[0].task}: {rows[0].metric}, {rows[0].unit}", _INK, bold)
    bottom = top + _HEAD + _LINE * len(rows)
    for value in (low, (low + high) / 2, high):
        canvas.line((at(value), top + _HEAD - 6, at(value), bottom), "#e4e4e4")
        canvas.text((at(value), top + 14), f"{value:g}", _GREY, font, anchor="mm")
    for place, row in enumerate(rows):
        y = top + _HEAD + _LINE * place + _LINE // 2
        colour = colours.get(row.name, _INK) if row.kind == "run" else _HOLLOW[row.kind]
        name = f"{row.name}, published" if row.kind == "published" else row.name
        canvas.text((20, y), _fitting(canvas, name, font), colour, font, anchor="lm")
        if row.value is None:
            canvas.text((_WIDTH - _RIGHT + 16, y), "-", colour, font, anchor="lm")
            continue
        if row.low is not None and row.high is not None:
            canvas.line((at(row.low), y, at(row.high), y), colour, 3)
        dot = (at(row.value) - 6, y - 6, at(row.value) + 6, y + 6)
        canvas.ellipse(dot, fill=colour if row.kind == "run" else "white", outline=colour, width=2)
        canvas.text((_WIDTH - _RIGHT + 16, y), f"{row.value:.4g}", colour, font, anchor="lm")


def _range(rows: list[Row]) -> tuple[float, float]:
    """From and to where a panel's axis goes: 0 to 100 for percent, wider where a figure leaves that; else what is
    there, from 0."""
    values = [each for row in rows for each in (row.value, row.low, row.high) if each is not None]
    first, last = (0.0, 100.0) if rows[0].unit == "%" else (0.0, 1.0)
    low, high = min([first, *values]), max([last, *values])
    return (low, high) if rows[0].unit == "%" or not values else (min(0.0, min(values)), max(values) * 1.1 or 1.0)


def _fitting(canvas: ImageDraw.ImageDraw, name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if canvas.textlength(name, font) <= _LEFT - 40:
        return name
    while canvas.textlength(name + "...", font) > _LEFT - 40:
        name = name[:-1]
    return name + "..."
