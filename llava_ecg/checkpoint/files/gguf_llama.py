"""A llama model in a GGUF file by transformers' names: its configuration, weights and tokenizer.

Compared on SmolLM2-135M-Instruct: all 273 weights are bit-equal to transformers' own GGUF loader; the token ids of 54
strings are those of llama.cpp (transformers' loader passes over the splitting into digits, which changes two of them).
Axes: O rows (outputs), I columns (inputs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from llava_ecg.checkpoint.files.gguf import Gguf
from llava_ecg.errors import InputError

_HYPERPARAMETERS = {
    "llama.block_count": "num_hidden_layers",
    "llama.context_length": "max_position_embeddings",
    "llama.embedding_length": "hidden_size",
    "llama.feed_forward_length": "intermediate_size",
    "llama.attention.head_count": "num_attention_heads",
    "llama.attention.head_count_kv": "num_key_value_heads",
    "llama.attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "llama.rope.freq_base": "rope_theta",
}
# Stated twice in a file: the tensors and the other numbers say the same.
_IMPLIED = ("llama.vocab_size", "llama.rope.dimension_count")
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def llama_config(gguf: Gguf) -> dict[str, Any]:
    """The ``config.json`` of transformers' LlamaForCausalLM for this file, dtype float32.

    Raises:
        InputError: not a llama model, a number is missing or absurd, or the file asks for something that is not in the
            layout (rope scaling, experts, ...), which would change the model silently if it were passed over.
    """
    metadata = gguf.metadata
    if (
        str(metadata.get("general.architecture")) != "llama"
    ):  # str, here and below: a hostile file may have an array anywhere
        raise InputError(
            f"{gguf.path} holds a {metadata.get('general.architecture')!r} model, and only llama can be laid out; "
            "give one"
        )
    strange = [
        key for key in metadata if key.startswith("llama.") and key not in _HYPERPARAMETERS and key not in _IMPLIED
    ]
    if strange:
        raise InputError(
            f"{gguf.path} sets {', '.join(strange)}, which this layout can't express; give a plain llama model"
        )
    config: dict[str, Any] = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32"}
    for key, name in _HYPERPARAMETERS.items():
        value, wanted = metadata.get(key), float if name in ("rms_norm_eps", "rope_theta") else int
        if type(value) is not wanted or not 0 < value < 2**32:
            raise InputError(
                f"{gguf.path} gives {key} as {value!r}, where a positive {wanted.__name__} is needed; get the file "
                "again"
            )
        # Filed as float32; its shortest decimal (1e-05, not 9.999999747378752e-06) is what the model was made with.
        config[name] = float(str(np.float32(value))) if wanted is float else value
    heads, kv_heads, width = (config[name] for name in ("num_attention_heads", "num_key_value_heads", "hidden_size"))
    rotated = metadata.get("llama.rope.dimension_count", width // heads)
    if width % (2 * heads) or heads % kv_heads or str(rotated) != str(width // heads):
        raise InputError(
            f"{gguf.path} has width {width}, {heads} heads ({kv_heads} for keys, {rotated} rotated), which don't "
            "fit together"
        )
    if "token_embd.weight" not in gguf.tensors:
        raise InputError(f"{gguf.path} has no tensor token_embd.weight; get the file again")
    ids = role_ids(gguf)
    return config | {
        "vocab_size": gguf.tensors.shape("token_embd.weight")[0],
        "head_dim": width // heads,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in gguf.tensors,
        **{f"{name}_token_id": number for name, number in ids.items() if name != "unk"},
    }


def llama_weights(gguf: Gguf) -> Iterator[tuple[str, np.ndarray]]:
    """(transformers name, float32 array [O, I] or [O]) for each tensor; every tensor of the file is used, none is
    missing.

    Raises:
        InputError: a tensor is missing, left over, or of a size that the configuration does not give it.
    """
    config = llama_config(gguf)
    layers, tensors = config["num_hidden_layers"], gguf.tensors
    wanted = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
    if not config["tie_word_embeddings"]:
        wanted["output"] = "lm_head"
    # A hostile layer count is refused before that many names are made.
    if len(tensors) != len(wanted) + layers * len(_LAYER_NAMES):
        raise InputError(
            f"{gguf.path} has {len(tensors)} tensors, and a llama of {layers} layers has "
            f"{len(wanted) + layers * len(_LAYER_NAMES)}"
        )
    for layer in range(layers):
        wanted |= {f"blk.{layer}.{filed}": f"model.layers.{layer}.{name}" for filed, name in _LAYER_NAMES.items()}
    shapes = _llama_shapes(config)
    for filed in wanted:
        key, shape = f"{filed}.weight", shapes[filed.rpartition(".")[2]]
        if key not in tensors or tensors.shape(key) != shape:
            there = f"has {list(tensors.shape(key))} as" if key in tensors else "lacks"
            raise InputError(f"{gguf.path} {there} {key}, which should be {list(shape)}; get the file again")
    for filed, name in wanted.items():
        weight = tensors[f"{filed}.weight"]
        if filed.endswith((".attn_q", ".attn_k")):
            weight = unpermute(weight, config["num_attention_heads" if filed.endswith("q") else "num_key_value_heads"])
        yield f"{name}.weight", weight


def _llama_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    width, hidden, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    kv_width = config["num_key_value_heads"] * config["head_dim"]
    embedding, norm = (vocabulary, width), (width,)
    return {
        **{"token_embd": embedding, "output": embedding, "output_norm": norm, "attn_norm": norm, "ffn_norm": norm},
        **{
            "attn_q": (width, width),
            "attn_k": (kv_width, width),
            "attn_v": (kv_width, width),
            "attn_output": (width, width),
        },
        **{"ffn_gate": (hidden, width), "ffn_up": (hidden, width), "ffn_down": (width, hidden)},
    }


def unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key matrix [O, I] from llama.cpp's order to transformers'.

    llama.cpp turns neighbouring rows (2i, 2i + 1) of a head together, transformers rows (i, i + half a head): the pairs
    are taken apart.
    """
    rows = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(weight.shape)


_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
_ROLES = {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id", "unk": "unknown_token_id"}


def role_ids(gguf: Gguf) -> dict[str, int]:
    """Role (bos, eos, pad, unk) -> id, as far as the file names them."""
    tokens = gguf.metadata.get("tokenizer.ggml.tokens")
    found = {role: gguf.metadata.get(f"tokenizer.ggml.{key}") for role, key in _ROLES.items()}
    ids = {role: number for role, number in found.items() if number is not None}
    for role, number in ids.items():
        if not isinstance(tokens, list) or not isinstance(number, int) or not 0 <= number < len(tokens):
            raise InputError(
                f"{gguf.path} gives the {role} token as {number!r}, which is no entry of its vocabulary; get the "
                "file again"
            )
    return ids


def byte_level_tokenizer(gguf: Gguf) -> Any:
    """The ``tokenizers.Tokenizer`` of a file with a byte-level BPE of the SmolLM kind; it adds no BOS.

    GGUF names the splitting of text into words instead of holding it. ``smollm`` is: each digit on its own, then
    GPT-2's rule.

    Raises:
        InputError: another kind of tokenizer, or vocabulary and merges don't fit together.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    metadata = gguf.metadata
    kind = tuple(str(metadata.get(f"tokenizer.ggml.{key}")) for key in ("model", "pre"))
    if kind != ("gpt2", "smollm") or metadata.get("tokenizer.ggml.add_bos_token", False) is not False:
        raise InputError(
            f"{gguf.path} has a tokenizer of kind {kind}, and only gpt2 with smollm splitting and no BOS is known; "
            "give one"
        )
    tokens, merges, kinds = (metadata.get(f"tokenizer.ggml.{key}") for key in ("tokens", "merges", "token_type"))
    if (
        not isinstance(tokens, list)
        or not isinstance(merges, list)
        or not isinstance(kinds, np.ndarray)
        or len(kinds) != len(tokens)
    ):
        raise InputError(
            f"{gguf.path} lacks tokens, merges or token types, or has not as many types as tokens; get the file again"
        )
    vocabulary = {token: number for number, token in enumerate(tokens)}
    pairs = [tuple(merge.split(" ")) for merge in merges]
    whole = len(vocabulary) == len(tokens) and set(kinds.tolist()) <= {_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED}
    if not whole or any(len(pair) != 2 or not {*pair, "".join(pair)} <= vocabulary.keys() for pair in pairs):
        raise InputError(
            f"{gguf.path} has a vocabulary with repeated or unknown entries, or merges outside of it; get the file "
            "again"
        )
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    for number in np.flatnonzero((kinds == _CONTROL) | (kinds == _USER_DEFINED)):
        token = AddedToken(tokens[number], normalized=False, special=bool(kinds[number] == _CONTROL))
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    return tokenizer
