"""Where the probe and the host that feeds it keep things; probe/layout.h says the same for the probe."""

from __future__ import annotations

import numpy as np

RAM = 0x8000_0000
RAM_BYTES = 32 << 20
HEADER = 0x8000_8000
TABLES = 0x8040_0000
TABLE_PAGES = 257
LAST_PAGE = 256
CASES = 0x8060_0000
RESULTS = 0x8090_0000
DATA = 0x8100_0000
DATA_END = LAST = 0x81FF_F000  # the last page of memory is a table
HOLE, HOLE_END = 0x2400_0000, 0x3000_0000  # nothing is there on any of the machines
WINDOWS = ((0x4000_0000, RAM), (0x4_0000_0000, 0x8_0000_0000))  # nothing on Spike; on QEMU a PCI bus, which reads as 1s
CODE_SLOT = 0xFE0
WITNESS_SLOT = 0xFD0
MOST_CASES = 75_000

CASE = np.dtype([("satp", "<u8"), ("va", "<u8"), ("pte", "<u8", 2), ("op", "<u4"), ("mstatus", "<u4")])
RESULT = np.dtype([("cause", "<u8"), ("tval", "<u8"), ("value", "<u8"), ("witness", "<u8", 2), ("pte", "<u8", 2)])
NONE = np.uint64(0xFFFF_FFFF_FFFF_FFFF)

# The operations of probe/access.S in their order: name, bytes, and what kind of access the MMU sees.
LOAD, STORE, FETCH, AMO = range(4)
OPERATIONS = (
    ("load1", 1, LOAD), ("load2", 2, LOAD), ("load4", 4, LOAD), ("load8", 8, LOAD),
    ("store1", 1, STORE), ("store2", 2, STORE), ("store4", 4, STORE), ("store8", 8, STORE),
    ("swap4", 4, AMO), ("swap8", 8, AMO), ("fetch", 4, FETCH),
)  # fmt: skip
OP_BYTES = np.array([size for _, size, _ in OPERATIONS], dtype=np.uint64)
OP_KIND = np.array([kind for _, _, kind in OPERATIONS], dtype=np.uint8)
OP_FETCH = 10

MPP_SHIFT, MPRV, SUM, MXR = 11, 1 << 17, 1 << 18, 1 << 19
PRIVILEGES = {"U": 0, "S": 1, "M": 3}
