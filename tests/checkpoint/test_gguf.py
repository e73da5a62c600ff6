"""The GGUF reader against files written here, byte by byte, and against slow, obvious arithmetic."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg.checkpoint.files.gguf import Gguf, read_gguf
from llava_ecg.checkpoint.files.gguf_llama import byte_level_tokenizer, llama_config, llama_weights, unpermute
from llava_ecg.errors import InputError

KINDS = {
    "F32": (0, 1, 4),
    "F16": (1, 1, 2),
    "Q4_0": (2, 32, 18),
    "Q4_1": (3, 32, 20),
    "Q8_0": (8, 32, 34),
}  # number, elements, bytes
CODES = {
    "u8": (0, "B"),
    "u16": (2, "H"),
    "u32": (4, "I"),
    "i32": (5, "i"),
    "f32": (6, "f"),
    "bool": (7, "?"),
    "u64": (10, "Q"),
    "f64": (12, "d"),
}


# -- a writer ----------------------------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    """A string as filed: length, then UTF-8."""
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, kind: str, value: Any) -> bytes:
    """One metadata value; kind is a key of CODES, ``str``, or one of these in brackets for a list."""
    if kind.startswith("["):
        inner = kind[1:-1]
        number = 8 if inner == "str" else CODES[inner][0]
        items = b"".join(text(item) if inner == "str" else struct.pack("<" + CODES[inner][1], item) for item in value)
        return text(key) + struct.pack("<IIQ", 9, number, len(value)) + items
    if kind == "str":
        return text(key) + struct.pack("<I", 8) + text(value)
    return text(key) + struct.pack("<I" + CODES[kind][1], CODES[kind][0], value)


def quantise(values: np.ndarray, kind: str, rng: np.random.Generator) -> bytes:
    """Random blocks for F32 and F16 the values; for the others what is in a block matters, not what it came from."""
    number_of_blocks = values.size // KINDS[kind][1]
    if kind in ("F32", "F16"):
        return values.astype("<f4" if kind == "F32" else "<f2").tobytes()
    halves = (2 if kind == "Q4_1" else 1) * number_of_blocks
    scales = rng.normal(size=halves).astype("<f2").reshape(number_of_blocks, -1)
    rest = rng.integers(0, 256, (number_of_blocks, KINDS[kind][2] - 2 * scales.shape[1]), dtype=np.uint8)
    return b"".join(scale.tobytes() + row.tobytes() for scale, row in zip(scales, rest, strict=True))


def gguf_bytes(
    entries: list[bytes],
    tensors: dict[str, tuple[tuple[int, ...], str, bytes]],
    *,
    alignment: int = 32,
    version: int = 3,
) -> bytes:
    """A whole file; a tensor is (sizes outermost first, type, data as filed)."""
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries)
    data = b""
    for name, (shape, kind, filed) in tensors.items():
        header += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], KINDS[kind][0], len(data))
        data += filed + bytes(-len(filed) % alignment)
    return header + bytes(-len(header) % alignment) + data


# The smallest llama that has everything: 2 layers, 4 heads of 8 for 2 key heads, digits, one merge, special tokens.
WIDTH, HIDDEN, HEADS, KV_HEADS, LAYERS = 32, 64, 4, 2, 2
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def vocabulary() -> list[str]:
    """Special tokens, then GPT-2's 256 stand-ins for bytes, then what one merge gives."""
    from tokenizers.pre_tokenizers import ByteLevel

    return [*SPECIAL, *sorted(ByteLevel.alphabet()), "12", "ab"]


def llama_entries(**changes: tuple[str, Any] | None) -> list[bytes]:
    """The metadata of the tiny llama; a change replaces, adds, or with None removes a key (dots written as two
    underscores)."""
    tokens = vocabulary()
    entries: dict[str, tuple[str, Any]] = {
        "general.architecture": ("str", "llama"),
        "llama.block_count": ("u32", LAYERS),
        "llama.context_length": ("u32", 128),
        "llama.embedding_length": ("u32", WIDTH),
        "llama.feed_forward_length": ("u32", HIDDEN),
        "llama.attention.head_count": ("u32", HEADS),
        "llama.attention.head_count_kv": ("u32", KV_HEADS),
        "llama.attention.layer_norm_rms_epsilon": ("f32", 1e-5),
        "llama.rope.freq_base": ("f32", 100000.0),
        "llama.rope.dimension_count": ("u32", WIDTH // HEADS),
        "tokenizer.ggml.model": ("str", "gpt2"),
        "tokenizer.ggml.pre": ("str", "smollm"),
        "tokenizer.ggml.tokens": ("[str]", tokens),
        "tokenizer.ggml.token_type": ("[i32]", [3 if token in SPECIAL else 1 for token in tokens]),
        "tokenizer.ggml.merges": ("[str]", ["1 2", "a b"]),
        "tokenizer.ggml.bos_token_id": ("u32", 1),
        "tokenizer.ggml.eos_token_id": ("u32", 2),
        "tokenizer.ggml.padding_token_id": ("u32", 2),
        "tokenizer.ggml.unknown_token_id": ("u32", 0),
    }
    changed = entries | {key.replace("__", "."): value for key, value in changes.items()}
    return [entry(key, *value) for key, value in changed.items() if value is not None]


def llama_tensors() -> dict[str, tuple[tuple[int, ...], str, bytes]]:
    """The weights of the tiny llama, of three types."""
    rng = np.random.default_rng(0)
    kv = KV_HEADS * WIDTH // HEADS
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (len(vocabulary()), WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        one = {
            "attn_norm": (WIDTH,),
            "ffn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (kv, WIDTH),
            "attn_v": (kv, WIDTH),
        }
        one |= {
            "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (HIDDEN, WIDTH),
            "ffn_up": (HIDDEN, WIDTH),
            "ffn_down": (WIDTH, HIDDEN),
        }
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in one.items()}
    kinds = {name: "F32" if "norm" in name else "Q8_0" if name == "token_embd" else "Q4_1" for name in shapes}
    return {
        f"{name}.weight": (shape, kinds[name], quantise(rng.normal(size=shape), kinds[name], rng))
        for name, shape in shapes.items()
    }


def tiny_llama(folder: Path, **changes: tuple[str, Any] | None) -> Path:
    """The tiny llama as a file."""
    path = folder / "tiny.gguf"
    path.write_bytes(gguf_bytes(llama_entries(**changes), llama_tensors()))
    return path


def opened(folder: Path, content: bytes) -> Gguf:
    path = folder / "case.gguf"
    path.write_bytes(content)
    return read_gguf(path)


# -- the format --------------------------------------------------------------------------------------------------------


def slowly(filed: bytes, kind: str) -> Iterator[np.float32]:
    """Element by element, in float32, as the format says it."""
    _, elements, size = KINDS[kind]
    for block in (filed[start : start + size] for start in range(0, len(filed), size)):
        if kind in ("F32", "F16"):
            yield np.float32(struct.unpack("<f" if kind == "F32" else "<e", block)[0])
            continue
        scale = np.float32(struct.unpack("<e", block[:2])[0])
        for element in range(elements):
            if kind == "Q8_0":
                yield scale * np.float32(struct.unpack("b", block[2 + element : 3 + element])[0])
                continue
            byte = block[size - 16 + element % 16]
            nibble = byte % 16 if element < 16 else byte // 16
            if kind == "Q4_0":
                yield scale * np.float32(nibble - 8)
            else:
                yield scale * np.float32(nibble) + np.float32(struct.unpack("<e", block[2:4])[0])


@pytest.mark.parametrize("kind", KINDS)
def test_dequantised_as_the_format_says(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(1)
    filed = quantise(rng.normal(size=(3, 5, 64)), kind, rng)
    # A second tensor behind it, so that an offset that is off shows.
    gguf = opened(tmp_path, gguf_bytes([], {"first": ((2,), "F32", bytes(8)), "w": ((3, 5, 64), kind, filed)}))
    assert gguf.tensors.shape("w") == (3, 5, 64)
    weight = gguf.tensors["w"]
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight.reshape(-1).view(np.int32), np.array(list(slowly(filed, kind))).view(np.int32))
    assert list(gguf.tensors) == ["first", "w"]


@pytest.mark.parametrize(("version", "alignment"), [(2, 32), (3, 32), (3, 64), (3, 8)])
def test_metadata_of_every_kind(tmp_path: Path, version: int, alignment: int) -> None:
    values: dict[str, tuple[str, Any]] = {
        "general.alignment": ("u32", alignment),
        **{
            "a": ("u8", 255),
            "b": ("u16", 65535),
            "c": ("i32", -5),
            "d": ("f32", 0.5),
            "e": ("bool", True),
            "f": ("u64", 2**60),
        },
        **{
            "g": ("f64", 0.1),
            "h": ("str", "µV ½"),
            "i": ("[i32]", [1, -2, 3]),
            "j": ("[str]", ["", "Ġt"]),
            "k": ("[f32]", []),
        },
    }
    entries = [entry(key, *value) for key, value in values.items()]
    number = np.arange(3, dtype="<f4").tobytes()
    content = gguf_bytes(
        entries, {"x": ((3,), "F32", number), "y": ((3,), "F32", number)}, alignment=alignment, version=version
    )
    gguf = opened(tmp_path, content)
    assert {
        key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in gguf.metadata.items()
    } == {key: value for key, (_, value) in values.items()}
    np.testing.assert_array_equal(gguf.tensors["y"], [0, 1, 2])


# -- what is not to be trusted -----------------------------------------------------------------------------------------


def head(tensors: int, values: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, values)


def record(name: str, sizes: tuple[int, ...], number: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, number, offset)


def padded(header: bytes, data: int) -> bytes:
    return header + bytes(-len(header) % 32 + data)


HUGE = 2**64 - 1
HOSTILE = {
    "empty": (b"", "not a GGUF"),
    "another format": (b"PK\x03\x04" + bytes(100), "not a GGUF"),
    "version 1": (b"GGUF" + struct.pack("<III", 1, 0, 0), "GGUF version 1,"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "little-endian"),
    "giant tensor count": (head(HUGE, 0) + bytes(64), "announces 18446744073709551615 tensors"),
    "giant value count": (head(0, HUGE) + bytes(64), "metadata values"),
    "giant key": (head(0, 1) + struct.pack("<Q", HUGE) + bytes(64), "name of"),
    "giant string": (head(0, 1) + text("a") + struct.pack("<IQ", 8, 2**62) + bytes(64), "ends after"),
    "giant string list": (head(0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 2**62) + bytes(64), "strings in a list"),
    "giant number list": (head(0, 1) + text("a") + struct.pack("<IIQ", 9, 0, 2**62) + bytes(64), "numbers in a list"),
    "list in a list": (head(0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1) + bytes(64), "unknown type 9"),
    "unknown value type": (head(0, 1) + text("a") + struct.pack("<I", 77) + bytes(64), "unknown type 77"),
    "no UTF-8": (head(0, 1) + struct.pack("<Q", 2) + b"\xff\xfe" + bytes(64), "UTF-8"),
    "key twice": (head(0, 2) + entry("a", "u8", 1) * 2 + bytes(9), "'a' twice"),
    "alignment 0": (head(0, 1) + entry("general.alignment", "u32", 0), "alignment 0"),
    "alignment as text": (head(0, 1) + entry("general.alignment", "str", "32"), "alignment '32'"),
    "tensor twice": (padded(head(2, 0) + record("w", (4,), 0, 0) * 2, 16), "'w' twice"),
    "no dimensions": (padded(head(1, 0) + record("w", (), 0, 0), 16), "0 dimensions"),
    "giant dimensions": (padded(head(1, 0) + record("w", (2**40, 2**40), 0, 0), 16), "would take bytes"),
    "size 0": (padded(head(1, 0) + record("w", (0, 4), 0, 0), 16), "can't hold"),
    "part of a block": (padded(head(1, 0) + record("w", (33,), 8, 0), 99), "can't hold"),
    "giant offset": (padded(head(1, 0) + record("w", (4,), 0, 2**63), 16), "would take bytes"),
    "crooked offset": (padded(head(1, 0) + record("w", (4,), 0, 4), 64), "would take bytes"),
    "shared bytes": (padded(head(2, 0) + record("w", (16,), 0, 0) + record("v", (4,), 0, 32), 64), "on the same bytes"),
    "type Q6_K": (padded(head(1, 0) + record("w", (256,), 14, 0), 210), "'w' is of type Q6_K"),
    "type BF16": (padded(head(1, 0) + record("w", (4,), 30, 0), 8), "is of type BF16"),
    "unheard-of type": (padded(head(1, 0) + record("w", (4,), 1234, 0), 8), "is of type number 1234"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_in_a_sentence(tmp_path: Path, case: str) -> None:
    content, words = HOSTILE[case]
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=words) as caught:
            opened(tmp_path, content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "case.gguf" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert peak < 2_000_000  # bytes: nothing of the announced size was made


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.gguf", tmp_path):
        with pytest.raises(InputError, match="can't be read"):
            read_gguf(path)


def test_cut_anywhere_is_refused(tmp_path: Path) -> None:
    content = gguf_bytes([entry("a", "[str]", ["x", "y"]), entry("b", "f32", 1.0)], {"w": ((2, 32), "Q4_0", bytes(36))})
    whole = len(content) - (-36 % 32)  # padding after the last tensor is nobody's
    opened(tmp_path, content[:whole])
    for length in range(whole):
        with pytest.raises(InputError):
            opened(tmp_path, content[:length])


def test_cut_while_open(tmp_path: Path) -> None:
    path = tmp_path / "w.gguf"
    path.write_bytes(gguf_bytes([], {"w": ((64,), "F32", bytes(256))}))
    gguf = read_gguf(path)
    path.write_bytes(path.read_bytes()[:-64])
    with pytest.raises(InputError, match="cut short"):
        gguf.tensors["w"]


def test_random_damage_never_ends_in_another_error(tmp_path: Path) -> None:
    content = tiny_llama(tmp_path).read_bytes()
    header = content.index(b"ffn_down.weight") + 200
    chance = random.Random(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(header)] = chance.randrange(256)
        try:
            gguf = opened(tmp_path, bytes(damaged))
            byte_level_tokenizer(gguf)
            assert len(dict(llama_weights(gguf))) == 2 + 9 * LAYERS
        except InputError:
            refused += 1
    assert refused > 20


# -- a llama -----------------------------------------------------------------------------------------------------------


def test_unpermuted_rows_turn_as_the_filed_ones_did() -> None:
    """llama.cpp turns neighbours of a head, transformers halves: the score of two positions is the same on both
    sides."""
    heads, size, width = 3, 8, 5
    rng = np.random.default_rng(2)
    query, key = rng.normal(size=(2, heads * size, width))
    state = rng.normal(size=(2, width))  # at two positions
    angle = np.outer([3, 11], 10000.0 ** (-np.arange(0, size, 2) / size))  # [position, pair]

    def neighbours(weight: np.ndarray, position: int) -> np.ndarray:
        pairs = (weight @ state[position]).reshape(heads, size // 2, 2)
        turned = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * angle[position])
        return np.stack([turned.real, turned.imag], -1).reshape(heads, size)

    def halves(weight: np.ndarray, position: int) -> np.ndarray:
        first, second = (weight @ state[position]).reshape(heads, 2, size // 2).swapaxes(0, 1)
        turned = (first + 1j * second) * np.exp(1j * angle[position])
        return np.concatenate([turned.real, turned.imag], -1)

    filed = (neighbours(query, 0) * neighbours(key, 1)).sum(-1)
    ours = (halves(unpermute(query, heads), 0) * halves(unpermute(key, heads), 1)).sum(-1)
    np.testing.assert_allclose(ours, filed, rtol=1e-12)
    assert not np.allclose((halves(query, 0) * halves(key, 1)).sum(-1), filed)


def test_weights_are_those_of_transformers_llama(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    gguf = read_gguf(tiny_llama(tmp_path))
    config: Any = LlamaConfig(**llama_config(gguf))
    assert config.rope_parameters["rope_theta"] == 100000.0
    assert (config.rms_norm_eps, config.tie_word_embeddings, config.eos_token_id) == (1e-5, True, 2)
    weights = dict(llama_weights(gguf))
    wanted = {
        name: tuple(value.shape)
        for name, value in LlamaForCausalLM(config).state_dict().items()
        if name != "lm_head.weight"
    }
    assert {name: value.shape for name, value in weights.items()} == wanted
    filed = gguf.tensors["blk.1.attn_k.weight"]
    size = WIDTH // HEADS
    # Filed row 2i + j of a head is row i + j * half.
    ours = weights["model.layers.1.self_attn.k_proj.weight"]
    np.testing.assert_array_equal(ours[size + 1], filed[size + 2])
    np.testing.assert_array_equal(ours[size // 2], filed[1])
    np.testing.assert_array_equal(
        weights["model.layers.1.self_attn.v_proj.weight"], gguf.tensors["blk.1.attn_v.weight"]
    )


def test_an_own_head_is_not_tied(tmp_path: Path) -> None:
    tensors = llama_tensors()
    tensors["output.weight"] = (
        tensors["token_embd.weight"][0],
        "F32",
        np.ones(tensors["token_embd.weight"][0], "<f4").tobytes(),
    )
    gguf = opened(tmp_path, gguf_bytes(llama_entries(), tensors))
    assert llama_config(gguf)["tie_word_embeddings"] is False
    assert (dict(llama_weights(gguf))["lm_head.weight"] == 1).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"general__architecture": ("str", "qwen2")}, "holds a 'qwen2' model"),
        ({"general__architecture": ("[i32]", [1, 2])}, "only llama"),
        ({"llama__rope__scaling__type": ("str", "yarn")}, "sets llama.rope.scaling.type"),
        ({"llama__expert_count": ("u32", 8)}, "sets llama.expert_count"),
        ({"llama__context_length": None}, "context_length as None"),
        ({"llama__block_count": ("f32", 2.0)}, "block_count as 2.0"),
        ({"llama__block_count": ("u32", 2**32 - 1)}, "layers has"),
        ({"llama__rope__freq_base": ("f32", float("nan"))}, "freq_base as nan"),
        ({"llama__attention__head_count": ("u32", 3)}, "don't fit together"),
        ({"llama__rope__dimension_count": ("u32", 4)}, "don't fit together"),
        ({"llama__feed_forward_length": ("u32", 96)}, "which should be"),
        ({"tokenizer__ggml__eos_token_id": ("u32", 9999)}, "eos token as 9999"),
    ],
)
def test_what_would_change_the_model_silently_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dict(llama_weights(read_gguf(tiny_llama(tmp_path, **changes))))


@pytest.mark.parametrize("swap", [None, "blk.0.attn_q.bias"])
def test_a_missing_or_strange_tensor_is_refused(tmp_path: Path, swap: str | None) -> None:
    tensors = llama_tensors()
    taken = tensors.pop("blk.0.attn_q.weight")
    if swap:
        tensors[swap] = taken
    with pytest.raises(
        InputError, match="lacks blk.0.attn_q.weight" if swap else "has 19 tensors, and a llama of 2 layers has 20"
    ):
        dict(llama_weights(opened(tmp_path, gguf_bytes(llama_entries(), tensors))))


# -- its tokenizer -----------------------------------------------------------------------------------------------------


def test_tokenizer_takes_digits_apart_and_markers_whole(tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer(read_gguf(tiny_llama(tmp_path)))
    assert tokenizer.encode("ab12").tokens == ["ab", "1", "2"]  # the merge "1 2" is never reached
    assert tokenizer.encode("<|im_start|>a<|im_end|>").ids[::2] == [1, 2]
    for sample in ("", " ab  12\n", "½ naïve 日本 😀", "<|im_start|>user\nQTc 471 ms<|im_end|>"):
        assert tokenizer.decode(tokenizer.encode(sample).ids, skip_special_tokens=False) == sample


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokenizer__ggml__pre": ("str", "llama-bpe")}, "llama-bpe"),
        ({"tokenizer__ggml__add_bos_token": ("bool", True)}, "no BOS"),
        ({"tokenizer__ggml__merges": None}, "lacks tokens, merges"),
        ({"tokenizer__ggml__merges": ("[str]", ["a b c"])}, "merges outside"),
        ({"tokenizer__ggml__merges": ("[str]", ["x y"])}, "merges outside"),
        ({"tokenizer__ggml__token_type": ("[i32]", [1, 2])}, "as many types"),
        ({"tokenizer__ggml__tokens": ("[str]", ["a"] * len(vocabulary()))}, "repeated"),
    ],
)
def test_another_tokenizer_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        byte_level_tokenizer(read_gguf(tiny_llama(tmp_path, **changes)))
