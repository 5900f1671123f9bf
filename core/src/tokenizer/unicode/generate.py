#!/usr/bin/env python3
"""Writes tables.rs: the general categories that the pre-tokenizers tell apart.

    pip install unicodedata2==15.1.0
    python core/src/tokenizer/unicode/generate.py > core/src/tokenizer/unicode/tables.rs

The Unicode version is part of a tokenizer's meaning: a code point that is a letter in one
version and unassigned in another changes where words end. 15.1 is the version whose
categories llama.cpp's tables hold (every code point was compared; none differs), so it is
pinned here, rather than taken from the interpreter.
"""
import sys

import unicodedata2 as ucd

VERSION = "15.1.0"
# Class numbers shared with `Class` in mod.rs. White space is a property, not a category; it
# is matched by hand in mod.rs and reads "other" here.
CLASSES = {"L": 1, "N": 2, "P": 3}
PER_LINE = 10


def main() -> None:
    if ucd.unidata_version != VERSION:
        sys.exit(f"needs unicodedata2=={VERSION}, found {ucd.unidata_version}")
    runs = []
    last = None
    for code in range(0x110000):
        found = CLASSES.get(ucd.category(chr(code))[0], 0)
        if found != last:
            runs.append(code << 2 | found)
            last = found

    print("// Written by generate.py; do not edit.")
    print()
    print("/// Version of the Unicode Character Database that `RUNS` was made from.")
    print(f'pub const UNICODE_VERSION: &str = "{VERSION}";')
    print()
    print("/// Where each run of code points of one class starts, in order: `start << 2 | class`.")
    print("#[rustfmt::skip]")
    print(f"pub(super) static RUNS: [u32; {len(runs)}] = [")
    for at in range(0, len(runs), PER_LINE):
        print("    " + " ".join(f"{run:#x}," for run in runs[at : at + PER_LINE]))
    print("];")


if __name__ == "__main__":
    main()
