"""What PyTorch's pickles name, as tables: dtypes, storages, the ways to make a tensor, and what ``torch.load`` follows
with ``weights_only``. Needs no torch; a test holds them against it."""

from __future__ import annotations

ITEMSIZE = {  # dtype as torch calls it -> bytes of an element
    **dict.fromkeys(("bool", "bits8", "bits1x8", "bits2x4", "bits4x2", "qint8", "quint8", "quint4x2", "quint2x4"), 1),
    **{f"{sign}int{bits}": max(1, bits // 8) for sign in ("", "u") for bits in (1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64)},
    **dict.fromkeys(
        ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2"), 1
    ),
    **{
        "float16": 2,
        "bfloat16": 2,
        "bits16": 2,
        "float32": 4,
        "complex32": 4,
        "qint32": 4,
        "float64": 8,
        "complex64": 8,
        "complex128": 16,
    },
}
_STORAGES = {  # torch.FloatStorage -> float32
    **{
        "Byte": "uint8",
        "Char": "int8",
        "Short": "int16",
        "Int": "int32",
        "Long": "int64",
        "Bool": "bool",
        "Half": "float16",
    },
    **{
        "BFloat16": "bfloat16",
        "Float": "float32",
        "Double": "float64",
        "ComplexFloat": "complex64",
        "ComplexDouble": "complex128",
    },
    **{"QInt8": "qint8", "QUInt8": "quint8", "QInt32": "qint32", "QUInt4x2": "quint4x2", "QUInt2x4": "quint2x4"},
}
STORAGE_CLASSES = {f"torch.{name}Storage": dtype for name, dtype in _STORAGES.items()} | {
    "torch.storage.UntypedStorage": "uint8"
}
DTYPES = {f"torch.{name}": name for name in ITEMSIZE}
DENSE = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_qtensor")
DENSE_V3 = "torch._utils._rebuild_tensor_v3"
PARAMETER = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
FROM_CPU = "torch._utils._rebuild_device_tensor_from_cpu_tensor"
FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_PLAIN = ("Byte", "Char", "Short", "Int", "Long", "Half", "BFloat16", "Float", "Double")
_SCHEMES = ("tensor_affine", "tensor_symmetric", "channel_affine", "channel_symmetric", "channel_affine_float_qparams")
_OTHER_REBUILD = (
    "sparse_tensor",
    "nested_tensor",
    "wrapper_subclass",
    "meta_tensor_no_storage",
    "device_tensor_from_numpy",
)
# The names that torch.load(weights_only=True) follows by default (torch 2.13, torch/_weights_only_unpickler.py).
ALLOWED = frozenset(
    (
        *(
            "collections.OrderedDict",
            "collections.Counter",
            "_codecs.encode",
            "builtins.bytearray",
            "builtins.set",
            "builtins.complex",
        ),
        *(
            "torch.nn.parameter.Parameter",
            "torch.serialization._get_layout",
            "torch.Size",
            "torch.Tensor",
            "torch.device",
        ),
        *(
            "torch.storage.TypedStorage",
            *STORAGE_CLASSES,
            *(f"torch.cuda.{name}Storage" for name in _STORAGES if name[0] != "Q"),
        ),
        *(f"torch{place}.{name}Tensor" for place in ("", ".cuda", ".sparse", ".cuda.sparse") for name in _PLAIN),
        *("torch.BoolTensor", "torch.cuda.BoolTensor", *DTYPES, *(f"torch.per_{scheme}" for scheme in _SCHEMES)),
        *(
            *DENSE,
            DENSE_V3,
            *PARAMETER,
            FROM_CPU,
            FROM_TYPE,
            *(f"torch._utils._rebuild_{kind}" for kind in _OTHER_REBUILD),
        ),
    )
)
# The opcodes that it follows; another one (most of pickle protocol 4) stops it.
OPCODES = frozenset(
    (
        *(
            "NEWOBJ",
            "REDUCE",
            "BUILD",
            "APPEND",
            "APPENDS",
            "SETITEM",
            "SETITEMS",
            "MARK",
            "TUPLE",
            "TUPLE1",
            "TUPLE2",
            "TUPLE3",
        ),
        *(
            "NONE",
            "NEWFALSE",
            "NEWTRUE",
            "EMPTY_TUPLE",
            "EMPTY_LIST",
            "EMPTY_DICT",
            "EMPTY_SET",
            "BININT",
            "BININT1",
            "BININT2",
        ),
        *(
            "BINFLOAT",
            "BINUNICODE",
            "SHORT_BINSTRING",
            "LONG1",
            "BINPERSID",
            "BINGET",
            "LONG_BINGET",
            "BINPUT",
            "LONG_BINPUT",
        ),
        *("GLOBAL", "PROTO", "STOP"),
    )
)
