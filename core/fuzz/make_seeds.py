"""Makes seeds/dequantize: two random blocks of each format behind the byte that selects it.

    pip install gguf==0.19.0 numpy
    python core/fuzz/make_seeds.py

The blocks are those of fixtures/gguf/valid/every_format.gguf; the first byte is the format's place
in `GgmlType::ALL`.
"""

from pathlib import Path

import gguf

HERE = Path(__file__).parent
ORDER = ["F32", "F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K",
         "Q6_K", "IQ4_NL", "IQ4_XS", "BF16", "MXFP4"]


def main():
    out = HERE / "seeds" / "dequantize"
    out.mkdir(parents=True, exist_ok=True)
    reader = gguf.GGUFReader(HERE / "../../fixtures/gguf/valid/every_format.gguf")
    for tensor in reader.tensors:
        first = bytes([ORDER.index(tensor.name)])
        (out / tensor.name).write_bytes(first + tensor.data.tobytes())


if __name__ == "__main__":
    main()
