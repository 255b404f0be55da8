"""What can be done to bytes and texts: bits flipped, extreme numbers written, pieces cut, copied and spliced."""

from __future__ import annotations

import random

EXTREMES = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0xFFF, 0x1000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF,
            1 << 40, (1 << 56) - 4096, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1)  # fmt: skip


def damaged(rng: random.Random, data: bytes, most: int = 6, head: int = 0) -> bytes:
    """The bytes with up to ``most`` faults; half of them among the first ``head`` bytes where that is given."""
    found = bytearray(data)
    for _ in range(rng.randint(1, most)):
        if not found:
            break
        room = min(head, len(found)) if head and rng.random() < 0.5 else len(found)
        at = rng.randrange(room)
        match rng.randrange(8):
            case 0 | 1:
                found[at] ^= 1 << rng.randrange(8)
            case 2 | 3:
                width = rng.choice((1, 2, 4, 8))
                at -= at % width
                found[at : at + width] = (rng.choice(EXTREMES) & (1 << 8 * width) - 1).to_bytes(width, "little")
            case 4:
                number = int.from_bytes(found[at : at + 4], "little") + rng.choice((-8, -1, 1, 8, 4096))
                found[at : at + 4] = (number & 0xFFFF_FFFF).to_bytes(4, "little")
            case 5:
                piece = rng.randint(1, 64)
                source = rng.randrange(len(found))
                found[at : at + piece] = found[source : source + piece]
            case 6:
                found[at : at + 8] = rng.randbytes(8)
            case _ if rng.random() < 0.3:
                del found[at:]
    return bytes(found)


def damaged_text(rng: random.Random, text: str) -> str:
    """A text with faults: letters changed, numbers grown, lines lost, doubled and cut."""
    lines = text.split("\n")
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(lines))
        line = lines[at]
        match rng.randrange(6):
            case 0:
                lines[at] = line[: rng.randint(0, len(line))]
            case 1:
                lines.insert(at, line)
            case 2 if len(lines) > 1:
                del lines[at]
            case 3:
                spot = rng.randint(0, len(line))
                lines[at] = line[:spot] + rng.choice(("\0", "f" * 40, "\x1b[2J", "-1", "é", "9" * 5000, ":", "\ud800"))
                lines[at] += line[spot + rng.randrange(3) :]
            case 4 if line:
                spot = rng.randrange(len(line))
                lines[at] = line[:spot] + chr(rng.randrange(256)) + line[spot + 1 :]
            case _:
                lines[at] = line + rng.choice(lines)
    return "\n".join(lines)
