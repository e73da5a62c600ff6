"""Flags that several commands share, each declared once, and what they mean to the functions behind the commands."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llava_ecg.assistant import Assistant

DEFAULT_MODEL = "gem-tiny"
REVISE = 2
"""How often `DEFAULT_MODEL` is asked again at most, unless --revise says otherwise."""
QUANTIZATIONS = ("none", "auto", "nf4", "int8", "w8a8", "w8a16")
GIGABYTE = 10**9
SETTING = re.compile(r"\s*([^.=\s]+)\.([^=\s]+)\s*=\s*(\S.*?)\s*", re.DOTALL)

Opener = Callable[..., "Assistant"]
"""Opens a model: called as ``opener(model, **opening(arguments))``."""


def command(commands: Any, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    """A parser for one command, whose help ends with the example. Flags that have a default say so with
    ``%(default)s``."""
    return commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example: {example}",
        allow_abbrev=False,
    )


# -- what a flag's value may be ----------------------------------------------------------------------------------------


def number(what: str, kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """An argparse type: a number of ``kind`` from low to high."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            whole = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{what} must be {whole} from {low:g} to {high:g}, not {text!r}")
        return value

    return parse


def name_or_path(text: str) -> str:
    """An argparse type: text as it was typed. Empty text, which a shell makes of an unset variable, would mean this
    very folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError(
            "a name or a path is needed and the text is empty; is a variable of the shell unset?"
        )
    return text


def path(text: str) -> Path:
    """An argparse type: a path that is not empty."""
    return Path(name_or_path(text))


def setting(text: str) -> tuple[str, str, Any]:
    """An argparse type: ``STREAM.SETTING=VALUE`` as (stream, setting, value); the value is read as JSON, and is text if
    it is none."""
    found = SETTING.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"a preparation is set as STREAM.SETTING=VALUE, such as image.aspect=pad, not {text!r}"
        )
    stream, name, value = found.groups()
    try:
        return stream, name, json.loads(value, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError):
        return stream, name, value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not in JSON")  # Python's reader takes NaN and Infinity


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is out of range")
    return value


# -- reading an ECG ----------------------------------------------------------------------------------------------------


def add_part(parser: argparse.ArgumentParser) -> None:
    """--start, --seconds."""
    parser.add_argument(
        "--start", type=number("start", float, 0, 1e7), default=0.0, metavar="S", help="where to begin (default: 0)"
    )
    parser.add_argument(
        "--seconds", type=number("seconds", float, 0.1, 1e7), metavar="S", help="how much to read (default: the rest)"
    )


def add_reading(parser: argparse.ArgumentParser) -> None:
    """--rate, --unit, --leads."""
    group = parser.add_argument_group("for files that do not say it themselves, such as npy and csv")
    group.add_argument("--rate", type=number("rate", float, 1, 100_000), metavar="HZ", help="samples a second")
    group.add_argument(
        "--unit", metavar="UNIT", help="unit of the values: mV, uV, V, nV, or the millivolts per step, such as 0.005"
    )
    group.add_argument(
        "--leads", metavar="I,II,...", help="lead names in the order of the file, or standard for I II III aVR ... V6"
    )


def reading(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flags of `add_reading`, and of `add_part` where the command has them, as keyword arguments of
    `files.read_recording`."""
    given = vars(arguments)
    part = {name: given[name] for name in ("start", "seconds") if given[name]} if "seconds" in given else {}
    return {"rate": arguments.rate, "unit": arguments.unit, "leads": arguments.leads} | part


def add_revise(parser: argparse.ArgumentParser) -> None:
    """--revise."""
    parser.add_argument(
        "--revise",
        type=number("revise", int, 0, 9),
        metavar="N",
        help="ask up to N times more, with the measured values, while the signal contradicts a claim of the answer; 0 "
        f"takes the first draft (default: {REVISE} for {DEFAULT_MODEL}, 0 for other models)",
    )


def revise(arguments: argparse.Namespace) -> int:
    """How many drafts after the first, by the flag or the model's default."""
    if arguments.revise is not None:
        return int(arguments.revise)
    return REVISE if arguments.model == DEFAULT_MODEL else 0


def add_stop(parser: argparse.ArgumentParser) -> None:
    """--stop."""
    parser.add_argument(
        "--stop",
        type=stop,
        action="append",
        default=[],
        metavar="TEXT",
        help="end the answer before this text; may be given several times, then the first that comes does",
    )


def stop(text: str) -> str:
    """An argparse type: text of at least one character."""
    if not text:
        raise argparse.ArgumentTypeError(
            "stop needs a text of at least one character; is a variable of the shell unset?"
        )
    return text


def add_case(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """--ecg, --image, --missing-leads, and those of `add_reading`; `several`: the first two are lists."""
    how: dict[str, Any] = {"action": "append", "default": []} if several else {}
    again = "; again for each ECG that one question is about" if several else ""
    parser.add_argument(
        "--ecg", type=Path, metavar="FILE", help=f"the signal: WFDB header, DICOM, npy, npz or csv{again}", **how
    )
    parser.add_argument(
        "--image",
        type=Path,
        metavar="FILE",
        help="an image of the page (by default it is drawn from the signal)",
        **how,
    )
    parser.add_argument(
        "--missing-leads",
        choices=("refuse", "zero"),
        default="refuse",
        help="what to do if some of the 12 leads are absent (default: %(default)s)",
    )
    add_part(parser)
    add_reading(parser)


# -- opening a checkpoint ----------------------------------------------------------------------------------------------


def add_base(parser: Any) -> None:
    """--base: the checkpoint below a LoRA or projectors."""
    parser.add_argument(
        "--base",
        type=name_or_path,
        metavar="PATH|NAME",
        help="checkpoint that a LoRA or projectors lie over, where they name none or another is meant",
    )


def add_parts(parser: Any) -> None:
    """--base, --ecg-tower and --vision-tower: what a checkpoint's own folder may lack."""
    add_base(parser)
    parser.add_argument(
        "--ecg-tower",
        type=name_or_path,
        metavar="PATH",
        help="weights of the ECG encoder, such as ECG-CoCa's .pt, where they lie elsewhere",
    )
    parser.add_argument(
        "--vision-tower",
        type=name_or_path,
        metavar="PATH",
        help="CLIP of the image, where the checkpoint names it and does not hold it",
    )


def add_trust(parser: Any) -> None:
    """--trust-pickle."""
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="open .bin and .pt files that hold more than tensors: opening one runs the code in it, so trust who "
        "made it",
    )


def add_shard_size(parser: Any) -> None:
    """--shard-size, in gigabytes of 10^9 bytes."""
    parser.add_argument(
        "--shard-size",
        type=number("shard-size", float, 0.001, 10_000),
        default=5,
        metavar="GB",
        help="largest file of weights that is written, in gigabytes (default: %(default)s)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """--model, how it is opened, and how it answers."""
    group = parser.add_argument_group("the model and how it answers")
    group.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="DIR|NAME|HUB_ID",
        help="folder of a checkpoint in any layout of docs/checkpoints.md, a name, or a hub id (default: %(default)s)",
    )
    likeliest, total = "0 takes the likeliest word each time", "sample from the likeliest words of this total"
    for flag, kind, low, high, default, summary in (
        ("temperature", float, 0, 100, 0.0, likeliest),
        ("top-p", float, 1e-6, 1, 1.0, total),
        ("top-k", int, 0, 10**9, 0, "sample from so many of the likeliest words, 0 for all"),
        ("repetition-penalty", float, 0.01, 100, 1.0, "above 1: words that the answer has already become less likely"),
        ("max-new-tokens", int, 1, 100_000, 256, "longest answer"),
        ("seed", int, 0, 2**63 - 1, 0, "of the sampling"),
    ):
        group.add_argument(
            f"--{flag}", type=number(flag, kind, low, high), default=default, help=f"{summary} (default: %(default)s)"
        )
    group.add_argument("--device", help="cpu, cuda, cuda:1, ...; the GPU if there is one")
    group.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="of the weights; chosen for the device"
    )
    group.add_argument(
        "--quantization",
        choices=QUANTIZATIONS,
        help="the language model's linear layers in 4 or 8 bits; w8a8 is the fast one on a CPU, w8a16 on a GPU; auto "
        f"takes w8a8 on a CPU whose 8-bit products are exact (default: auto for {DEFAULT_MODEL} unless --dtype is "
        "given, none for other models)",
    )
    add_parts(group)
    group.add_argument(
        "--template", type=name_or_path, metavar="NAME", help="chat template in place of the checkpoint's own"
    )
    group.add_argument(
        "--prepare",
        type=setting,
        action="append",
        default=[],
        metavar="STREAM.SETTING=VALUE",
        help="prepare an input otherwise than the checkpoint says: image.aspect=pad, ecg.rate=500; may be given "
        "several times",
    )
    add_trust(group)
    group.add_argument(
        "--no-strict",
        dest="strict",
        action="store_false",
        help="open a checkpoint even if tensors are missing, left over or of another shape",
    )


def opening(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flags of `add_model` as keyword arguments of an `Opener`.

    Returns:
        ``device`` and ``dtype`` always (None if not given); ``quantization`` as typed or by the model's default;
        of ``ecg_tower``, ``vision_tower``, ``base``, ``template``, ``preparation`` (stream ->
        setting -> value), ``strict`` and ``trust_pickle`` those that were typed.
    """
    typed = {name: vars(arguments)[name] for name in ("ecg_tower", "vision_tower", "base", "template")}
    typed["quantization"] = _quantization(arguments)
    given = {"device": arguments.device, "dtype": arguments.dtype} | {
        name: value for name, value in typed.items() if value is not None
    }
    preparation: dict[str, dict[str, Any]] = {}
    for stream, name, value in arguments.prepare:
        preparation.setdefault(stream, {})[name] = value
    if preparation:
        given["preparation"] = preparation
    if not arguments.strict:
        given["strict"] = False
    if arguments.trust_pickle:
        given["trust_pickle"] = True
    return given


def _quantization(arguments: argparse.Namespace) -> str | None:
    """By the flag, or by the model's default: gem-tiny is quick in 8 bits and was measured so."""
    if arguments.quantization is not None:
        return str(arguments.quantization)
    return "auto" if arguments.model == DEFAULT_MODEL and arguments.dtype is None else None
