#!/usr/bin/env python3
"""Writes tables.rs: the general categories that the pre-tokenizers tell apart.

    pip install unicodedata2==15.1.0
    python core/src/tokenizer/unicode/generate.py > core/src/tokenizer/unicode/tables.rs

The Unicode version is part of a tokenizer's meaning: a code point that is a letter in one
version and unassigned in another changes where words end. 15.1 is the version whose
categories llama.cpp's tables hold (every code point was compared; none differs), so it is
pinned here, rather than taken from the interpreter.

Code points of one class in a row are a run, and a run is a byte: how many follow its first, and
the class. Runs lie in groups, which are found by where they start. The last run of a group goes
on to the next group, whatever its byte says, so a run too long for a byte ends its group.
"""
import sys

import unicodedata2 as ucd

VERSION = "15.1.0"
CODES = 0x110000
# Class numbers: bits of `Class` in mod.rs. White space is a property, not a category; it is
# matched by hand in mod.rs and reads "other" here.
CLASSES = {"L": 1, "N": 2, "P": 3}
CLASS_BITS = 2
# The longest run that a byte can say.
LONGEST = 1 << 8 - CLASS_BITS
# More runs in a group make fewer groups, and a longer search in each.
GROUP_RUNS = 12
OFFSET_BITS = 11
PER_LINE = 10


def class_of(code: int) -> int:
    return CLASSES.get(ucd.category(chr(code))[0], 0)


def pack() -> tuple[list[int], list[int]]:
    starts = [code for code in range(CODES) if code == 0 or class_of(code) != class_of(code - 1)]
    groups, runs = [], []
    in_group = GROUP_RUNS
    for start, end in zip(starts, starts[1:] + [CODES]):
        if in_group == GROUP_RUNS:
            groups.append(start << OFFSET_BITS | len(runs))
            in_group = 0
        length = min(end - start, LONGEST)
        runs.append(length - 1 << CLASS_BITS | class_of(start))
        in_group = in_group + 1 if end - start == length else GROUP_RUNS
    assert len(runs) < 1 << OFFSET_BITS
    return groups, runs


def check(groups: list[int], runs: list[int]) -> None:
    """Reads every code point's class back."""
    ends = groups[1:] + [CODES << OFFSET_BITS | len(runs)]
    for group, end in zip(groups, ends):
        code, offset = group >> OFFSET_BITS, group & (1 << OFFSET_BITS) - 1
        while code < end >> OFFSET_BITS:
            assert runs[offset] & 3 == class_of(code), hex(code)
            code += 1
            last = offset + 1 == end & (1 << OFFSET_BITS) - 1
            if not last and code == (group >> OFFSET_BITS) + (runs[offset] >> CLASS_BITS) + 1:
                group = code << OFFSET_BITS
                offset += 1


def write(name: str, ty: str, what: str, values: list[int], digits: int) -> None:
    print()
    print(f"/// {what}")
    print("#[rustfmt::skip]")
    print(f"pub(super) static {name}: [{ty}; {len(values)}] = [")
    for at in range(0, len(values), PER_LINE):
        print("    " + " ".join(f"{value:#0{digits}x}," for value in values[at : at + PER_LINE]))
    print("];")


def main() -> None:
    if ucd.unidata_version != VERSION:
        sys.exit(f"needs unicodedata2=={VERSION}, found {ucd.unidata_version}")
    groups, runs = pack()
    check(groups, runs)

    print("// Written by generate.py; do not edit.")
    print()
    print("/// Version of the Unicode Character Database that `RUNS` was made from.")
    print(f'pub const UNICODE_VERSION: &str = "{VERSION}";')
    print()
    print("/// Bits of a group that say where in `RUNS` its own begin.")
    print(f"pub(super) const OFFSET_BITS: u32 = {OFFSET_BITS};")
    what = "Groups of runs, in order: `first code point << OFFSET_BITS | first run`."
    write("GROUPS", "u32", what, groups, 1)
    what = "Runs of code points of one class, in order: `(length - 1) << 2 | class`."
    write("RUNS", "u8", what, runs, 4)


if __name__ == "__main__":
    main()
