"""Write a GGUF file whose matrices are Q8_0 (8 bits and a scale for 32 of them), of one in any other kind: what
llama.cpp needs to be compared with `--quantization w8a8` at equal bits.

    pip install gguf xllamacpp
    python scripts/bench/gguf_q8.py SmolLM2-135M-Instruct.Q4_1.gguf smollm2.Q8_0.gguf
    python scripts/bench/decode.py --quantization w8a8 --baseline_dtype bfloat16 --llama_cpp smollm2.Q8_0.gguf
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
from gguf.quants import dequantize, quantize

LEFT_OUT = ("general.architecture", "general.file_type")  # the writer has its own of the first


def write(source: Path, target: Path) -> int:
    """How many tensors were written in 8 bits."""
    reader = gguf.GGUFReader(str(source))
    writer = gguf.GGUFWriter(str(target), reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in LEFT_OUT:
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], inner)
    count = 0
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        if values.ndim > 1:
            count += 1
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(tensor.name, quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return count


def main() -> None:
    """Convert."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    print(f"{write(arguments.source, arguments.target)} matrices in Q8_0: {arguments.target}")


if __name__ == "__main__":
    main()
