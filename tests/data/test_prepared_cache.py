"""What is kept is what was prepared; what changes is made anew; damage, other processes and full folders are borne."""

from __future__ import annotations

import os
import pickle
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from llava_ecg.data import prepared_cache
from llava_ecg.data.conversation import MARKER, Conversation, Turn
from llava_ecg.data.dataset import ConversationDataset
from llava_ecg.data.prepared_cache import PreparedCache, settings_of
from llava_ecg.errors import InputError
from llava_ecg.streams import NEWLINE, Prepared

from ..conftest import letter_tokenizer
from .test_dataset import SIMPLE

MEGABYTE = 10**6


class Counting:
    """A preparer of files with numbers in them, which counts what it prepares."""

    def __init__(self, stream: str, factor: float = 1.0) -> None:
        self.stream, self.factor = stream, factor

    def read(self, path: Path) -> list[float]:
        CALLS.append(("read", path.name))
        return [float(word) for word in path.read_text().split()]

    def derive(self, sources: Mapping[str, Any]) -> Any:
        return [2 * value for value in sources["ecg"]] if self.stream == "image" and "ecg" in sources else None

    def prepare(self, source: list[float]) -> Prepared:
        CALLS.append(("prepare", self.stream))
        values = torch.tensor([source]) * self.factor
        return Prepared(values, 4, torch.tensor([0, 2, NEWLINE, 1]), ("noted",), (0.0, 2.5))


CALLS: list[tuple[str, str]] = []


def one_file(path: Path) -> list[Path]:
    return [path] if path.is_file() else []


def cache_at(folder: Path, limit: int = MEGABYTE) -> PreparedCache:
    return PreparedCache(folder, limit, one_file)


def dataset(folder: Path, cache: PreparedCache | None, factor: float = 1.0, **more: Any) -> ConversationDataset:
    turns = (Turn("user", f"{MARKER} why {MARKER}"), Turn("assistant", "so"))
    records = [Conversation(turns, {"ecg": ("a", "b"), "image": ("b",)}), Conversation(turns, {"ecg": ("b", "a")})]
    preparers: dict[str, Any] = {name: Counting(name, factor) for name in ("ecg", "image")}
    folders = dict.fromkeys(preparers, folder)
    return ConversationDataset(records, SIMPLE, letter_tokenizer(), preparers, folders, 999, cache=cache, **more)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, text in (("a", "1 2 3"), ("b", "4 5")):
        (folder / name).write_text(text)
        os.utime(folder / name, (1e9, 1e9))
    CALLS.clear()
    return folder


def same(one: Any, two: Any) -> bool:
    pairs = [(a, b) for name in one.streams for a, b in zip(one.streams[name], two.streams[name], strict=True)]
    return (
        torch.equal(one.ids, two.ids)
        and torch.equal(one.slots, two.slots)
        and all(torch.equal(a.values, b.values) and torch.equal(a.index, b.index) for a, b in pairs)
        and all((a.tokens, a.notes, a.shown) == (b.tokens, b.notes, b.shown) for a, b in pairs)
    )


@pytest.mark.parametrize("derive", [False, True])
def test_the_second_time_nothing_is_prepared(files: Path, tmp_path: Path, derive: bool) -> None:
    plain = [dataset(files, None, derive=derive)[number] for number in range(2)]
    data = dataset(files, cache_at(tmp_path / "kept"), derive=derive)
    first = [data[number] for number in range(2)]
    CALLS.clear()
    for again in (data, dataset(files, cache_at(tmp_path / "kept"), derive=derive), pickle.loads(pickle.dumps(data))):
        second = [again[number] for number in range(2)]
        assert CALLS == []
        for group in (first, second):
            assert all(map(same, plain, group))
    other = dataset(files, cache_at(tmp_path / "kept"), derive=not derive)
    assert same(other[0], dataset(files, None, derive=not derive)[0])


def test_modality_dropout_is_the_same(files: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {"derive": True, "modality_dropout": 0.7, "seed": 5}
    plain, kept = dataset(files, None, **more), dataset(files, cache_at(tmp_path / "kept"), **more)
    numbers = range(20)
    shown = [tuple(len(given) for given in plain[number].streams.values()) for number in numbers]
    assert len(set(shown)) > 1
    for _ in range(2):
        assert all(same(plain[number], kept[number]) for number in numbers)


def test_what_changed_is_made_anew(files: Path, tmp_path: Path) -> None:
    data = dataset(files, cache_at(tmp_path / "kept"))
    data[1]
    (files / "a").write_text("7 8 9")
    assert data[1].streams["ecg"][1].values.tolist() == [[7.0, 8.0, 9.0]]
    assert dataset(files, cache_at(tmp_path / "kept"), factor=2.0)[1].streams["ecg"][0].values.tolist() == [[8.0, 10.0]]
    CALLS.clear()
    (files / "c").write_text("4 5")
    data.conversations = [Conversation(data.conversations[1].turns, {"ecg": ("c", "b")})]
    assert data[0].streams["ecg"][0].values.tolist() == [[4.0, 5.0]] and CALLS == [], "the same content elsewhere"
    (files / "c").unlink()
    with pytest.raises(InputError, match="there"), pytest.MonkeyPatch.context() as patched:
        patched.setattr(Counting, "read", _absent)
        data[0]


def _absent(self: Any, path: Path) -> Any:
    raise InputError(f"{path} is not there")


def test_a_change_within_the_tick_of_the_clock_is_seen(files: Path, tmp_path: Path) -> None:
    """Size and time of a file alone are believed only when they are older than the clock is coarse."""
    data = dataset(files, cache_at(tmp_path / "kept"))
    now = time.time()
    for text, value in (("7 8 9", 7.0), ("6 8 9", 6.0)):
        (files / "a").write_text(text)
        os.utime(files / "a", (now, now))
        assert float(data[1].streams["ecg"][1].values[0, 0]) == value


def test_keys(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cache_at(tmp_path / "kept")
    a, b = files / "a", files / "b"
    keys = {
        cache.key("s", {"ecg": a}),
        cache.key("t", {"ecg": a}),
        cache.key("s", {"image": a}),
        cache.key("s", {"ecg": b}),
        cache.key("s", {"ecg": a, "image": b}),
        cache.key("s", {"ecg": b, "image": a}),
    }
    assert len(keys) == 6 and None not in keys
    assert cache.key("s", {"ecg": files / "none"}) is None
    preparers = {"ecg": Counting("ecg")}
    assert settings_of(preparers) == settings_of({"ecg": Counting("ecg")})
    assert len({settings_of(preparers), settings_of(preparers, 1), settings_of({"ecg": Counting("ecg", 2)})}) == 3
    before = settings_of(preparers)
    monkeypatch.setattr(prepared_cache, "_code", lambda: "another version")
    assert settings_of(preparers) != before
    with pytest.raises(InputError, match="can't be pickled"):
        settings_of({"ecg": lambda: 0})


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.prepared"))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "header"])
def test_a_damaged_entry_is_made_anew(files: Path, tmp_path: Path, damage: str) -> None:
    data = dataset(files, cache_at(tmp_path / "kept"))
    expected = data[0]
    assert len(entries(tmp_path / "kept")) == 2
    for path in entries(tmp_path / "kept"):
        content = bytearray(path.read_bytes())
        if damage == "flipped":
            content[-70] ^= 1
        elif damage == "header":
            content[20] ^= 1
        else:
            content = {"cut": content[:-9], "empty": bytearray(), "text": bytearray(b"x" * 100)}[damage]
        path.write_bytes(content)
    CALLS.clear()
    assert same(data[0], expected) and CALLS.count(("prepare", "ecg")) == 2
    CALLS.clear()
    assert same(data[0], expected) and CALLS == []


def test_every_type_and_shape_comes_back() -> None:
    given = {
        "x": Prepared(torch.arange(6, dtype=torch.bfloat16).reshape(1, 2, 3).transpose(1, 2), 5, torch.arange(5)),
        "y": Prepared(torch.zeros(0, 3), 0, torch.empty(0, dtype=torch.int64), ("\u00b5", "two"), None),
        "z": Prepared(torch.tensor([[True, False]]), 1, torch.tensor([0])),
    }
    found = prepared_cache._unpack(bytearray(prepared_cache._pack(given)))
    assert found is not None and list(found) == list(given)
    for name, item in given.items():
        assert torch.equal(found[name].values, item.values) and found[name].values.dtype == item.values.dtype
        assert torch.equal(found[name].index, item.index) and found[name].notes == item.notes
        assert (found[name].tokens, found[name].shown) == (item.tokens, item.shown)


def fill(cache: PreparedCache, first: int, last: int) -> None:
    for number in range(first, last):
        cache.put(f"{number:064x}"[::-1], {"x": Prepared(torch.full((1, 2500), float(number)), 1, torch.tensor([0]))})


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_it_holds_no_more_than_its_limit(tmp_path: Path) -> None:
    cache = cache_at(tmp_path, 300_000)
    fill(cache, 0, 60)
    assert 250_000 < size(tmp_path) <= 300_000
    assert cache.get(f"{0:064x}"[::-1]) is not None, "what this run uses stays"
    for path in entries(tmp_path):
        os.utime(path, (1e9, 1e9))
    later = cache_at(tmp_path, 300_000)
    os.utime(later._place(f"{3:064x}"[::-1], ".prepared"), (1e8, 1e8))  # of all the first to go
    assert later.get(f"{3:064x}"[::-1]) is not None
    fill(later, 100, 110)
    kept = [later.get(f"{number:064x}"[::-1]) is not None for number in (3, *range(100, 110))]
    assert all(kept) and size(tmp_path) <= 300_000, "what it does not use makes room"
    (tmp_path / "00").mkdir(exist_ok=True)
    for name, age in ((".old", 10_000), (".new", 0)):
        (tmp_path / "00" / name).write_bytes(b"x")
        os.utime(tmp_path / "00" / name, (time.time() - age,) * 2)
    fill(cache_at(tmp_path, 310_000), 200, 201)
    assert [(tmp_path / "00" / name).exists() for name in (".old", ".new")] == [False, True]


def test_a_full_disk_stops_the_keeping_and_nothing_else(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(files, cache_at(tmp_path / "kept"))
    expected = dataset(files, None)[0]

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepared_cache, "_write", full)
    with pytest.warns(UserWarning, match="no longer kept in .*No space left on device"):
        assert same(data[0], expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(data[1], dataset(files, None)[1])


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Path, target: Any) -> Any:
        raise OSError(28, "No space left on device")

    cache = cache_at(tmp_path)
    monkeypatch.setattr(Path, "replace", fails)
    with pytest.warns(UserWarning):
        fill(cache, 0, 1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_several_processes_share_it(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        wrong = sum(pool.map(_write_and_read, [tmp_path] * 4))
    assert wrong == 0 and len(entries(tmp_path)) == 20
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


def _write_and_read(folder: Path) -> int:
    """How many entries were not whole when they were read, while others wrote them."""
    cache, wrong = cache_at(folder), 0
    for _ in range(20):
        for number in range(20):
            found = cache.get(f"{number:064x}"[::-1])
            if found is not None and not bool((found["x"].values == number).all()):
                wrong += 1
            path = cache._place(f"{number:064x}"[::-1], ".prepared")
            wrong += found is None and path.exists() and cache.get(f"{number:064x}"[::-1]) is None
        fill(cache, 0, 20)
    return wrong


def test_workers_share_it(files: Path, tmp_path: Path) -> None:
    data = dataset(files, cache_at(tmp_path / "kept"), derive=True)
    expected = [dataset(files, None, derive=True)[number] for number in range(2)]
    for _ in range(2):
        loader = DataLoader(data, batch_size=1, num_workers=2, collate_fn=_first)
        assert all(same(one, two) for one, two in zip(loader, expected, strict=True))
    assert len(entries(tmp_path / "kept")) == 3, "of four places two show the same"


def _first(samples: list[Any]) -> Any:
    return samples[0]


def test_what_is_augmented_is_not_kept(files: Path, tmp_path: Path) -> None:
    data = dataset(files, cache_at(tmp_path / "kept"), augment={"ecg": lambda source, rng: [rng.random()]})
    assert data[0].streams["ecg"][0].values.tolist() != data[2].streams["ecg"][0].values.tolist()
    assert entries(tmp_path / "kept") == []


def test_folders_that_can_t_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="can't be kept in"):
        cache_at(tmp_path / "file")
    with pytest.raises(InputError, match="holds nothing"):
        cache_at(tmp_path, 0)
