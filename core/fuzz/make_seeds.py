"""Makes seeds/dequantize, seeds/parity, seeds/protocol, seeds/schema and seeds/tokenizer.

    pip install gguf==0.19.0 numpy
    python core/fuzz/make_seeds.py

dequantize: the blocks of fixtures/gguf/valid/every_format.gguf, each format's behind its place in
`GgmlType::ALL`. parity: the same blocks behind format and shape. tokenizer: short texts for each of the six vocabularies of the target, behind the
byte that selects vocabulary and options. schema: a schema, a zero, and turns to take. protocol: lines
with their checksums, whole, damaged and amid noise. What fuzzing finds is added beside these by hand.
"""

from binascii import crc_hqx
from pathlib import Path

import gguf

SEEDS = Path(__file__).parent / "seeds"
FIXTURES = Path(__file__).parent / "../../fixtures/gguf/valid"
ORDER = ["F32", "F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K",
         "Q6_K", "IQ4_NL", "IQ4_XS", "BF16", "MXFP4"]
TEXTS = {
    "english": "A small computer that isn't big; it's 5 W, $1,234.56 (approx.).\n\n  In\tdented ",
    "code": "fn main() {\n    let x = vec![1, 2, 3]; // é\n\tprintln!(\"{:?}\", x[0]);\r\n}\n",
    "scripts": "Привет مرحبا 你好世界 こんにちは 한국어 ภาษา नमस्ते ελληνικά",
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f466 \U0001f3f4\u200d\u2620\ufe0f "
             "\U0001f1e9\U0001f1ea e\u0301\u0302\u0303 \u2581\u2581",
    "spaces": "  \n \n\n\t\t   a  b   \u00a0\u3000\u2028 \r\r\n",
    "specials": "<|im_start|>user\nhi<|im_end|><|im_<bos><start_of_turn><0x41><|endoftext|",
    "digits": "1 12 123 1234 12345 \u0661\u0662\u0663 \u00b2\u00bd 1e-5 0x1F",
    "contractions": "I'm you'RE we'Ve 'tis 'S \u2019s don't'll",
    "letters": "a" * 300,
}
SCHEMAS = {
    "home": "turn_on device room?\nset_color room? color\nset_alarm time=time\n\nnone\n",
    "numbers": "a v=int:0:100\nab v=int:-7:-3 w?=dec:-0.5:0.5\nb v=dec:99.9:1000000000",
    "choices": "turn way=up|upper|down|d\nturns way?=up toward?=time\nt x? y? z=int:1:1",
}
LINES = {
    "requests": [">1|hello", ">2|ask|oven to 180 please", ">3|ask|%c3%a9%0a%2a", ">4|sing"],
    "answer": ["<2|hello|1|95|qemu-m7|arm/dsp|bantam-intent.Q8_0.gguf", '<2|token|0|{"',
               "<2|token|1|%c3", "<2|done|18|f572741a62ab9bef|68810841"],
    "errors": ["<0|error|17|a damaged line", "<65535|error|255|%7c", "<5|hello|2|other"],
    "long": [">5|ask|" + "a" * 600, "<5|token|7|" + "%00" * 160],
}


def line(body):
    return f"{body}*{crc_hqx(body.encode(), 0xFFFF):04x}\n".encode()


def main():
    for name in ("dequantize", "parity", "protocol", "schema", "tokenizer"):
        (SEEDS / name).mkdir(parents=True, exist_ok=True)
    for tensor in gguf.GGUFReader(FIXTURES / "every_format.gguf").tensors:
        first = bytes([ORDER.index(tensor.name)])
        (SEEDS / "dequantize" / tensor.name).write_bytes(first + tensor.data.tobytes())
        for tame, shape in enumerate((bytes([32, 8, 2]), bytes([4, 0, 1]))):
            seed = first + shape + bytes([tame]) + tensor.data.tobytes()
            (SEEDS / "parity" / f"{tensor.name}_{tame}").write_bytes(seed)
    for i, (name, text) in enumerate(TEXTS.items()):
        for vocabulary in range(6):
            first = bytes([vocabulary << 3 | (i + vocabulary) % 8])
            (SEEDS / "tokenizer" / f"{name}_{vocabulary}").write_bytes(first + text.encode())
    for name, text in SCHEMAS.items():
        turns = bytes(range(7, 256, 12))
        (SEEDS / "schema" / name).write_bytes(text.encode() + b"\0" + turns)
    for name, bodies in LINES.items():
        (SEEDS / "protocol" / name).write_bytes(b"".join(map(line, bodies)))
    noise = b"login:\r\n\0\xff<1|tok" + line(">1|hello")[:-3] + b"\n"
    (SEEDS / "protocol" / "noise").write_bytes(noise + line(">2|ask|lights on"))
    bad = b"\x03ab\xff\xfe\xc3(\xe2\x98\xf0\x9f\x92 \xed\xa0\x80end"
    (SEEDS / "tokenizer" / "not_utf8").write_bytes(bad)


if __name__ == "__main__":
    main()
