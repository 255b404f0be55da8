"""Which encodings use memory, held against the specification's own tables, written here a second time."""

from __future__ import annotations

import pytest

from pagebook.instructions import WIDE, Instruction, decode, size_of
from pagebook.mmu import Kind

SHORT = {
    # quadrant and funct3: what the tables of the C extension say for RV64, then for RV32
    (0, 1): ("fld", "fld"), (0, 2): ("lw", "lw"), (0, 3): ("ld", "flw"),
    (0, 5): ("fsd", "fsd"), (0, 6): ("sw", "sw"), (0, 7): ("sd", "fsw"),
    (2, 1): ("fld", "fld"), (2, 2): ("lw", "lw"), (2, 3): ("ld", "flw"),
    (2, 5): ("fsd", "fsd"), (2, 6): ("sw", "sw"), (2, 7): ("sd", "fsw"),
}  # fmt: skip


def expected_short(value: int, xlen: int) -> str:
    """The name of a 16-bit load or store, or nothing."""
    quadrant, funct3, rd = value & 3, value >> 13, value >> 7 & 31
    if (quadrant, funct3) == (0, 4):  # Zcb
        return {0: "lbu", 1: "lh" if value & 64 else "lhu", 2: "sb", 3: "" if value & 64 else "sh"}.get(
            value >> 10 & 7, ""
        )
    if value in (0x6081, 0x6281):  # Zicfiss
        return "sspush" if value == 0x6081 else "sspopchk"
    name = SHORT.get((quadrant, funct3), ("", ""))[xlen == 32]
    return "" if quadrant == 2 and rd == 0 and name in ("lw", "ld") else name


@pytest.mark.parametrize("xlen", [32, 64])
def test_every_encoding_of_16_bits_does_what_the_tables_say(xlen: int) -> None:
    for value in range(1 << 16):
        if value & 3 == 3:
            continue
        found, name = decode(value, xlen), expected_short(value, xlen)
        assert (found.size, found.name, found.known) == (2, name, True), hex(value)
        kind = {"l": Kind.LOAD, "s": Kind.STORE}.get(name.removeprefix("f")[:1])
        assert found.kind is kind, hex(value)


LOADS = ("lb", "lh", "lw", "ld", "lbu", "lhu", "lwu", "")
FLOATS = ("vector", "h", "w", "d", "q", "vector", "vector", "vector")


def expected_wide(opcode: int, funct3: int) -> str:
    if opcode == 0x03:
        return LOADS[funct3]
    if opcode == 0x23:
        return ("sb", "sh", "sw", "sd", "", "", "", "")[funct3]
    verb = {0x07: ("fl", "load"), 0x27: ("fs", "store")}.get(opcode)
    if verb is None:
        return ""
    return f"a vector {verb[1]}" if FLOATS[funct3] == "vector" else verb[0] + FLOATS[funct3]


@pytest.mark.parametrize("opcode", [op for op in range(3, 128, 4) if op & 0x1C != 0x1C])
def test_every_opcode_of_32_bits_but_atomic_system_and_fence_does_what_its_row_says(opcode: int) -> None:
    for funct3 in range(8):
        found = decode(0x00A5_0500 & ~0x7000 | funct3 << 12 | opcode)
        if opcode in (0x0B, 0x2B, 0x5B, 0x7B):
            assert (found.known, found.kind) == (False, None)
        elif opcode not in (0x2F, 0x73, 0x0F):
            assert (found.name, found.known) == (expected_wide(opcode, funct3), True)


@pytest.mark.parametrize(
    ("value", "name", "kind"),
    [
        (0x00B5_252F, "amoadd.w", Kind.AMO),
        (0x0CB5_352F, "amoswap.d", Kind.AMO),
        (0x2CB5_352F, "amocas.d", Kind.AMO),
        (0x1005_252F, "lr.w", Kind.LOAD),
        (0x18B5_352F, "sc.d", Kind.STORE),
        (0x1015_252F, "", None),  # lr with an rs2
        (0x0045_200F, "cbo.zero", Kind.STORE),
        (0x0000_100F, "", None),  # fence.i
        (0x0000_0073, "", None),  # ecall
        (0x6C05_4573, "hlv.d", Kind.LOAD),
        (0x6EB5_4073, "hsv.d", Kind.STORE),
        (0x1000_5007 | 1 << 28, "", None),  # a vector load of a width that is reserved
    ],
)
def test_atomics_cache_blocks_and_guests_accesses_fault_as_what_they_are(
    value: int, name: str, kind: Kind | None
) -> None:
    found = decode(value)
    assert (found.name, found.kind) == (name, kind)


def test_what_only_wide_harts_have_does_nothing_on_narrow_ones() -> None:
    for value in (0x0005_6503, 0x0CB5_352F, 0x6C05_4573):  # lwu, amoswap.d, hlv.d
        assert decode(value, 64).kind is not None
        assert decode(value, 32).kind is None


def test_no_two_rows_claim_one_encoding() -> None:
    for number, one in enumerate(WIDE):
        for other in WIDE[number + 1 :]:
            both = one.mask & other.mask
            apart = (one.match ^ other.match) & both or {one.xlen, other.xlen} == {32, 64}
            assert apart, (one, other)


def test_a_load_is_no_store_and_an_amo_faults_as_a_store() -> None:
    assert decode(0x4108).may(Kind.LOAD) and not decode(0x4108).may(Kind.STORE)
    assert decode(0x00B5_252F).may(Kind.STORE) and not decode(0x00B5_252F).may(Kind.LOAD)
    assert not decode(0x4589).may(Kind.LOAD) and not decode(0x4589).may(Kind.STORE)


def test_lengths_are_in_the_low_bits_and_what_is_long_is_not_known() -> None:
    assert [size_of(low) for low in (0x4589, 0x0003, 0x001F, 0x003F, 0x007F)] == [2, 4, 6, 6, 6]
    assert decode(0x1234_001F) == Instruction(0x1234_001F, 6, known=False)
    assert decode(0xFFFF_4589) == decode(0x4589)  # bits above the instruction are cut
