r"""Train the wave delineator, `llava_ecg/ecg/waves/delineator.safetensors`, on hand marks and on simulated ECGs.

Hardware: any CPU, 1 to 2 cores. Time: 6 to 12 minutes a network on one core, by the machine. Memory: 2 GB.

    python scripts/train_delineator.py --data ../shared/data/ludb --unmarked ../shared/data/ptbxl \
        --out llava_ecg/ecg/waves/delineator.safetensors
    python scripts/train_delineator.py --data ../shared/data/ludb --unmarked ../shared/data/ptbxl --fold 0 \
        --out /tmp/fold0.safetensors
    python scripts/train_delineator.py --data ../shared/data/ludb --epochs 2 --simulated 20 --out /tmp/x.safetensors

The first trains on every record, the second without fold 0 of 5; scripts/train_delineator.sh makes all six.

Marks: LUDB, the Lobachevsky University Database (Kalyakulina et al., IEEE Access 2020; ODC-By 1.0). Fold k holds the
records whose place in the list of record numbers, shuffled with a fixed seed, is k modulo 5. The architecture is
described in `llava_ecg.ecg.waves.net`, which runs it in numpy; the twin here is the torch one that learns.

Axes: B records, L leads, T samples at 250 Hz, C channels.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional as F

from llava_ecg.ecg.filters import highpass, resample
from llava_ecg.ecg.simulate_marked import simulate_marked
from llava_ecg.ecg.waves import net
from llava_ecg.ecg.waves.marks import FOLDS, fold_of, read_marked, record_names

IGNORED = -1  # outside the first and last mark of a lead nobody looked
CLASSES = ("p", "qrs", "t")  # 1, 2, 3; 0 is none
LIVE = 0.02
SURE = 0.75  # probability from which a guess is taught
EDGE, SIMULATED_EDGE = (
    3,
    4,
)  # samples on either side of an edge of a guess and of a simulated wave that are not: hands teach the edges


@dataclass(frozen=True)
class Example:
    """A recording with its labels.

    Attributes:
        name: record.
        signal: float32 [L, T] mV at 250 Hz, 0.5 Hz high-passed.
        labels: int8 [L, T]: 0 none, 1 P, 2 QRS, 3 T, `IGNORED`.
    """

    name: str
    signal: np.ndarray
    labels: np.ndarray


MARGIN = 10  # samples: 40 ms to either side of a wave by hand, where its neighbour "none" is taught though P is not


def marked(path: Path) -> Example:
    """One record of LUDB, ``path`` without suffix, with its labels.

    Where P waves were left unmarked, only the surroundings of the marked waves are taught, or the network would learn
    to deny P waves that are to be seen.
    """
    record = read_marked(path)
    signal = resample(record.signal, record.rate, net.RATE)
    labels = np.full(signal.shape, IGNORED, dtype=np.int8)
    for row, (waves, span) in enumerate(zip(record.leads, record.spans, strict=True)):
        labels[row, math.ceil(span[0] * net.RATE) : math.floor(span[1] * net.RATE) + 1] = 0
        for kind, name in enumerate(CLASSES, 1):
            for onset, _, end in waves[name]:
                labels[row, math.ceil(onset * net.RATE) : math.floor(end * net.RATE) + 1] = kind
    if record.p_unmarked:
        labels[(labels == 0) & ~_near_edge(labels, MARGIN)] = IGNORED
    return Example(record.name, signal, labels)


def simulated(count: int, seed: int) -> Iterator[Example]:
    """``count`` simulated ECGs of many rhythms."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        recording, marks = simulate_marked(rng)
        signal = resample(highpass(recording.signal, recording.rate), recording.rate, net.RATE)
        labels = np.zeros(signal.shape, dtype=np.int8)
        for kind, waves in ((1, marks.p), (3, marks.t), (2, marks.qrs)):
            for onset, _, end, row in _flat(waves):
                labels[row, max(0, math.ceil(onset * net.RATE)) : max(0, math.floor(end * net.RATE) + 1)] = kind
        yield Example(f"simulated {number}", signal, labels)


def _near_edge(labels: np.ndarray, width: int) -> np.ndarray:
    """bool [L, T]: samples within ``width`` of a change of label."""
    near = np.zeros(labels.shape, dtype=bool)
    for shift in range(-width, width + 1):
        near |= np.roll(labels, shift, axis=1) != labels
    return near


def _flat(marks: np.ndarray) -> Iterator[tuple[float, float, float, int]]:
    """(onset, peak, end, lead) of each wave of [N, L, 3]."""
    for row in range(marks.shape[1]):
        for onset, peak, end in marks[:, row]:
            if np.isfinite(onset) and np.isfinite(end):
                yield float(onset), float(peak), float(end), row


@dataclass(frozen=True)
class Unmarked:
    """A recording that nobody marked.

    Attributes:
        name: its ecg_id.
        signal: float32 [L, T] at 250 Hz, 0.5 Hz high-passed.
        fibrillating: whether its rhythm was called atrial fibrillation or flutter, so that it has no P waves.
    """

    name: str
    signal: np.ndarray
    fibrillating: bool


def read_unmarked(folder: Path) -> list[Unmarked]:
    """The recordings of PTB-XL's folds 1 to 8 (fold 9 is left to tests); ``folder`` as ../shared/data/README.md
    says."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    signals = np.load(folder / "signals_250hz_int16.npy", mmap_mode="r")
    return [
        Unmarked(
            row["ecg_id"],
            highpass(signals[int(row["row"])].astype(np.float32) / 1000, net.RATE),
            row["rhythm"] in ("AFIB", "AFLT"),
        )
        for row in rows
        if row["strat_fold"] != "9"
    ]


def guessed(unmarked: Sequence[Unmarked], model: Delineator) -> list[Example]:
    """Unmarked recordings with the model's own labels, without those it is unsure of and without the edges, which hands
    teach."""
    network = net.Network(exported(model), {}, "")
    out = []
    for each in unmarked:
        live = np.ptp(each.signal, axis=1) > LIVE
        probability = network.probabilities(net.normalise(each.signal), live)
        labels = probability.argmax(axis=1).astype(np.int8)
        unsure = (probability.max(axis=1) < SURE) | _near_edge(labels, EDGE)
        if each.fibrillating:
            p = labels == 1 + CLASSES.index("p")
            unsure[p], labels[p] = False, 0
        labels[unsure] = IGNORED
        out.append(Example(each.name, each.signal, labels))
    return out


class Block(nn.Module):
    """Two convolutions; the second is joined by a map of the mean over the live leads."""

    def __init__(self, inward: int, width: int, kernel: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(inward, width, kernel, padding=kernel // 2)
        self.norm_first = nn.BatchNorm1d(width)
        self.second = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.norm_second = nn.BatchNorm1d(width)
        self.pooled = nn.Conv1d(width, width, 1)

    def forward(self, x: torch.Tensor, live: torch.Tensor) -> torch.Tensor:
        """x [B L, C, P], live [B, L] -> [B L, width, P]."""
        x = F.relu(self.norm_first(self.first(x)))
        batch, leads = live.shape
        own = x.view(batch, leads, *x.shape[1:])
        mean = (own * live[:, :, None, None]).sum(1) / live.sum(1).clamp(min=1)[:, None, None]
        shared = self.pooled(mean)[:, None].expand(-1, leads, -1, -1).reshape(x.shape)
        return F.relu(self.norm_second(self.second(x)) + shared)


class Delineator(nn.Module):
    """The twin of `llava_ecg.ecg.waves.net.Network`."""

    def __init__(self) -> None:
        super().__init__()
        widths, kernels = net.CHANNELS, net.KERNELS
        before = (net.PATCH, *widths[:-1])
        self.down = nn.ModuleList(Block(i, w, k) for i, w, k in zip(before, widths, kernels, strict=True))
        self.up = nn.ModuleList(
            Block(widths[n] + widths[n + 1], widths[n], kernels[n]) for n in reversed(range(len(widths) - 1))
        )
        self.head = nn.Conv1d(widths[0], net.PATCH * net.CLASSES, 1)

    def forward(self, signal: torch.Tensor, live: torch.Tensor) -> torch.Tensor:
        """signal [B, L, T] normalised, live [B, L] float -> logits [B, L, classes, T]."""
        batch, leads, samples = signal.shape
        x = signal.reshape(batch * leads, samples // net.PATCH, net.PATCH).transpose(1, 2)
        kept = []
        for level, block in enumerate(self.down):
            x = block(F.avg_pool1d(x, 2) if level else x, live)
            kept.append(x)
        kept.pop()
        for block in self.up:
            x = block(torch.cat([kept.pop(), F.interpolate(x, scale_factor=2.0, mode="nearest")], dim=1), live)
        out = self.head(x).view(batch, leads, net.CLASSES, net.PATCH, -1)
        return out.transpose(3, 4).reshape(batch, leads, net.CLASSES, samples)


def stretched(example: Example, factor: float) -> Example:
    """The example, slower or faster."""
    length = round(example.signal.shape[1] * factor)
    at = np.linspace(0, example.signal.shape[1] - 1, length)
    grid = np.arange(example.signal.shape[1])
    signal = np.stack([np.interp(at, grid, row) for row in example.signal]).astype(np.float32)
    return Example(example.name, signal, example.labels[:, np.rint(at).astype(int)])


def shortened(example: Example, rng: np.random.Generator) -> Example:
    """The example without a part of each pause between T and the next P, as in tachycardia; the step at each cut is
    taken out."""
    usual = np.median(np.where(example.labels == IGNORED, 0, example.labels), axis=0)
    votes = (example.labels > 0).sum(axis=0)
    quiet = votes == 0
    inside = (example.labels != IGNORED).any(axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet & inside, [False]]).astype(np.int8)))
    keep, level = np.ones(len(usual), dtype=bool), np.zeros_like(example.signal)
    share = rng.uniform(0.3, 1.0)
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        before = np.flatnonzero(votes[:first])
        if len(before) == 0 or not (example.labels[:, before[-1]] == 3).any():
            continue  # only behind a T wave
        cut = int((last - first - 4) * share)
        if cut < 4:
            continue
        start = first + 2 + (last - first - 4 - cut) // 2
        keep[start : start + cut] = False
        level[:, start + cut :] += (example.signal[:, start + cut] - example.signal[:, start])[:, None]
    signal = (example.signal - level)[:, keep]
    return Example(example.name, signal.astype(np.float32), example.labels[:, keep])


def augmented(example: Example, rng: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """One training view: (normalised signal [L, samples], labels), all 12 leads."""
    if rng.random() < 0.3:
        example = shortened(example, rng)
    if rng.random() < 0.7:
        example = stretched(example, float(np.exp(rng.uniform(np.log(0.75), np.log(1.4)))))
    signal, labels = example.signal.copy(), example.labels.copy()
    start = int(rng.integers(0, max(1, signal.shape[1] - samples)))
    signal, labels = signal[:, start : start + samples], labels[:, start : start + samples]
    short = samples - signal.shape[1]
    if short > 0:
        signal = np.pad(signal, ((0, 0), (0, short)))
        labels = np.pad(labels, ((0, 0), (0, short)), constant_values=IGNORED)
    if rng.random() < 0.8:
        signal = (
            signal
            * rng.choice([-1.0, 1.0], p=[0.3, 0.7], size=(len(signal), 1))
            * np.exp(rng.normal(0, 0.2, (len(signal), 1)))
        )
    signal, labels = noisy(signal, labels, rng)
    return net.normalise(signal), labels


def noisy(signal: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Muscle, wander and mains on all leads; now and then a lead that is nothing but noise, hum or a line."""
    leads, samples = signal.shape
    t = np.arange(samples) / net.RATE
    size = np.percentile(np.abs(signal), 98, axis=1, keepdims=True)
    if rng.random() < 0.5:
        signal = signal + rng.standard_normal(signal.shape) * size * rng.uniform(0, 0.06) * rng.uniform(
            0.3, 1.7, (leads, 1)
        )
    if rng.random() < 0.4:
        for hz in rng.uniform(0.1, 0.7, 2):
            signal = signal + size * rng.normal(0, 0.12, (leads, 1)) * np.sin(2 * np.pi * (hz * t + rng.random()))
    if rng.random() < 0.25:
        hz = rng.choice([50.0, 60.0])
        signal = signal + size * rng.uniform(0, 0.12) * rng.uniform(0.2, 1, (leads, 1)) * np.sin(
            2 * np.pi * (hz * t + rng.random())
        )
    if rng.random() < 0.15:
        for row in rng.choice(leads, size=int(rng.integers(1, 4)), replace=False):
            kind, level = rng.integers(4), rng.uniform(0.01, 0.3)
            hum = np.sin(2 * np.pi * (rng.choice([50.0, 60.0, rng.uniform(1, 60)]) * t + rng.random()))
            signal[row] = (
                0.0,
                level * rng.standard_normal(samples),
                level * hum,
                level * (hum + rng.standard_normal(samples)),
            )[kind]
            labels[row] = 0
    if rng.random() < 0.02:
        signal = rng.standard_normal(signal.shape) * rng.uniform(0.01, 0.5)
        labels = np.zeros_like(labels)
    return signal, labels


def batch_of(examples: Sequence[Example], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch of one number of leads: (signal [B, L, T], live [B, L], labels [B, L, T])."""
    leads = int(rng.choice([1, 2, 3, 6, 12], p=[0.1, 0.12, 0.08, 0.2, 0.5]))
    samples = int(rng.choice([1024, 1536, 2048]))
    views = [augmented(example, rng, samples) for example in examples]
    rows = [rng.choice(12, size=leads, replace=False) for _ in views]
    signal = np.stack([view[0][row] for view, row in zip(views, rows, strict=True)])
    labels = np.stack([view[1][row] for view, row in zip(views, rows, strict=True)])
    live = (np.ptp(signal, axis=2) > 0.02).astype(np.float32)
    labels[live == 0] = IGNORED
    return torch.from_numpy(signal), torch.from_numpy(live), torch.from_numpy(labels).long()


def train(
    model: Delineator,
    sources: Sequence[tuple[Sequence[Example], int]],
    epochs: int,
    rate: float,
    rng: np.random.Generator,
) -> Delineator:
    """AdamW, one cycle, an exponential mean of the weights, which is what comes back.

    Args:
        sources: examples, and how many of them an epoch draws (without putting back).
        rate: the highest learning rate.
    """
    ema = torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=ema, use_buffers=True)
    size = 8
    drawn = [(examples, min(count, len(examples))) for examples, count in sources]
    batches = sum(count for _, count in drawn) // size
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate / 10, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=rate, total_steps=epochs * batches + 1, pct_start=0.15
    )
    begin = time.perf_counter()
    for epoch in range(epochs):
        chosen = [examples[at] for examples, count in drawn for at in rng.permutation(len(examples))[:count]]
        order, total = rng.permutation(len(chosen)), 0.0
        for number in range(batches):
            signal, live, labels = batch_of([chosen[at] for at in order[number * size : (number + 1) * size]], rng)
            logits = model(signal, live).permute(0, 1, 3, 2).reshape(-1, net.CLASSES)
            loss = F.cross_entropy(logits, labels.reshape(-1), ignore_index=IGNORED, label_smoothing=0.02)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            average.update_parameters(model)
            total += loss.item()
        if epoch % 5 == 4 or epoch == epochs - 1:
            print(
                f"epoch {epoch + 1:>3} of {epochs}  loss {total / batches:.4f}  {time.perf_counter() - begin:.0f} s",
                flush=True,
            )
    return average.module


def exported(model: Delineator) -> dict[str, np.ndarray]:
    """The weights as `llava_ecg.ecg.waves.net` reads them, each norm folded into its convolution:
    ``down0.first.weight`` [out, in, tap]."""
    arrays: dict[str, np.ndarray] = {}
    model.eval()
    blocks = {f"down{n}": block for n, block in enumerate(model.down)} | {
        f"up{n}": block for n, block in enumerate(model.up)
    }
    with torch.no_grad():
        for name, block in blocks.items():
            for part, convolution, norm in (
                ("first", block.first, block.norm_first),
                ("second", block.second, block.norm_second),
            ):
                gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
                arrays[f"{name}.{part}.weight"] = (convolution.weight * gain[:, None, None]).numpy()
                arrays[f"{name}.{part}.bias"] = ((convolution.bias - norm.running_mean) * gain + norm.bias).numpy()
            arrays[f"{name}.pooled.weight"] = block.pooled.weight[:, :, 0].numpy().copy()
            arrays[f"{name}.pooled.bias"] = block.pooled.bias.numpy().copy()
        arrays["head.weight"], arrays["head.bias"] = (
            model.head.weight[:, :, 0].numpy().copy(),
            model.head.bias.numpy().copy(),
        )
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train one network and write it with a card of how."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of LUDB")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    parser.add_argument(
        "--fold", type=int, choices=range(FOLDS), help="leave this fold out; default: train on all records"
    )
    parser.add_argument("--first-epochs", type=int, default=3, help="epochs with the simulated ones alone")
    parser.add_argument("--epochs", type=int, default=60, help="epochs with the marked ones")
    parser.add_argument("--simulated", type=int, default=2000, help="how many simulated ECGs to draw from")
    parser.add_argument(
        "--unmarked",
        type=Path,
        help="folder of PTB-XL's sample: recordings that the network labels itself and learns again",
    )
    parser.add_argument("--more-epochs", type=int, default=40, help="epochs with the unmarked ones")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    names = record_names(options.data)
    folds = fold_of(names)
    used = [name for name in names if folds[name] != options.fold]
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    real = [marked(options.data / name) for name in used]
    made = list(simulated(options.simulated, options.seed))
    unmarked = read_unmarked(options.unmarked) if options.unmarked else []
    model = Delineator()
    size = sum(p.numel() for p in model.parameters())
    print(
        f"{len(real)} marked records, {len(made)} simulated, {len(unmarked)} unmarked; {size:,} parameters", flush=True
    )
    model = train(model, [(made, len(real) * 4)], options.first_epochs, 6e-3, rng)
    model = train(model, [(real, len(real))], options.epochs, 6e-3, rng)
    if unmarked:
        others = guessed(unmarked, model)
        fibrillating = [example for example, each in zip(others, unmarked, strict=True) if each.fibrillating]
        model = train(
            model,
            [(real, len(real)), (others, len(real)), (fibrillating, len(real) // 5)],
            options.more_epochs,
            3e-3,
            rng,
        )
    arrays = {
        name: array.astype(np.float16) for name, array in exported(model).items()
    }  # half the size, the same waves
    card = {
        "trained on": "Lobachevsky University Database (LUDB), Kalyakulina et al., IEEE Access 2020, ODC-By 1.0; "
        "simulated ECGs"
        + ("; PTB-XL, Wagner et al., Scientific Data 2020, CC BY 4.0, without marks" if unmarked else ""),
        "records": len(real),
        "fold left out": options.fold,
        "simulated": len(made),
        "unmarked": len(unmarked),
        "epochs": [options.first_epochs, options.epochs, options.more_epochs if unmarked else 0],
        "seed": options.seed,
    }
    save_file(arrays, options.out, metadata={"card": json.dumps(card)})
    print(
        f"{options.out}: {options.out.stat().st_size:,} bytes, sha256 "
        f"{hashlib.sha256(options.out.read_bytes()).hexdigest()}"
    )


if __name__ == "__main__":
    main()
