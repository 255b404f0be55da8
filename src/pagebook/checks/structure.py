"""Rules about the graph of tables: loops, tables with two users, tables and roots in frames that are not theirs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pagebook.checks.evidence import DEAD, Evidence, Mask
from pagebook.checks.rule import Hits, Place, Rule, Severity, mapping_hits, space_hits
from pagebook.columns import Columns
from pagebook.errors import BadAddress
from pagebook.ledger import Role
from pagebook.memory import U64
from pagebook.sv import decode_satp

IN_USE = (Role.USER, Role.SHARED, Role.KERNEL_STACK, Role.TRAPFRAME, Role.KERNEL_IMAGE, Role.DEVICE_QUEUE)
MOST_SHARED = 256  # tables that are looked at for user pages


def table_loop(evidence: Evidence) -> Iterator[Hits]:
    """Pointers to a table that the same space has on a higher level already."""
    rows = evidence.tables.tables
    if not len(evidence.confused):
        return
    chosen = rows[np.isin(rows["pa"], evidence.confused)]
    key = chosen["pa"] ^ chosen["space"].astype(U64) << U64(56)
    _, first = np.unique(key, return_index=True)  # by descending level, so the first is where it belongs
    again = np.ones(len(chosen), dtype=np.bool_)
    again[first] = False
    found = _pointers_to(evidence, chosen[again])
    inner = ~np.isin(found["pte_pa"] & ~U64(0xFFF), evidence.confused)
    # What leads into the loop is told; what is only read through it is left out, unless all of it is inside.
    chosen_columns = found[inner] if inner.any() else found[found["level"] == found["level"].max(initial=0)]
    yield mapping_hits(
        chosen_columns,
        lambda place: (
            f"this PTE points to the table at {place.pa:#x}, which the same space uses on another level "
            "already: the tables loop, or a table has two places"
        ),
    )


def _pointers_to(evidence: Evidence, tables: np.ndarray) -> Columns:
    found = evidence.tables.pointers
    key = found["pa"] ^ found["space"].astype(U64) << U64(56) ^ (found["level"].astype(U64) - U64(1)) << U64(48)
    wanted = tables["pa"] ^ tables["space"].astype(U64) << U64(56) ^ tables["level"].astype(U64) << U64(48)
    return found[np.isin(key, wanted)]


def shared_table(evidence: Evidence) -> Iterator[Hits]:
    """Tables that two spaces use.

    In xv6 none are; elsewhere kernels share the tables of their own half, or of wherever no user page is, by design.
    """
    rows = evidence.tables.tables
    roots = np.array([space.table.root for space in evidence.spaces], dtype=U64)
    order = np.lexsort((rows["space"], rows["pa"]))
    rows = rows[order]
    first = np.searchsorted(rows["pa"], rows["pa"])
    other = rows[first] if len(rows) else rows
    shared = (rows["space"] != other["space"]) & (roots[rows["space"]] != roots[other["space"]])
    if evidence.guest == "xv6":
        # The tables that a course's kernel keeps for a process beside the user's may share with any other.
        main = np.array([space.pid is not None or space.name == "kernel" for space in evidence.spaces], dtype=np.bool_)
        shared &= main[rows["space"]] & main[other["space"]]
    else:
        shared &= (rows["level"] != other["level"]) | (rows["va"] >> U64(63) == 0)
        shared = _with_users(evidence, rows, shared, rows["level"] != other["level"])
    shared &= ~np.isin(rows["pte_pa"] & ~U64(0xFFF), rows["pa"][shared])  # only the topmost table of what is shared
    names = [space.name for space in evidence.spaces]
    hits = np.flatnonzero(shared)
    found = _first_pointers(evidence, rows[hits])
    yield mapping_hits(
        found,
        lambda place: f"the table at {place.pa:#x} is used by {names[place.fact]} too: what one changes, the other has",
        fact=other["space"][hits],
    )
    if evidence.guest == "xv6":
        yield from _same_root(evidence, roots, names)


def _with_users(evidence: Evidence, rows: np.ndarray, shared: Mask, certain: Mask) -> Mask:
    """Of shared tables those that are certainly wrong, and those under which a page has U."""
    kept = shared & certain
    for at in np.flatnonzero(shared & ~certain)[:MOST_SHARED].tolist():
        row = rows[at]
        fmt = evidence.spaces[row["space"]].table.format
        reach = fmt.page_bytes(int(row["level"]) + 1)
        kept[at] = evidence.user[evidence.within(int(row["space"]), int(row["va"]), reach)].any()
    return kept


def _first_pointers(evidence: Evidence, rows: np.ndarray) -> Columns:
    """The PTEs that rows of TABLE name, as rows of pointers."""
    level = rows["level"] + 1
    size = np.zeros(len(rows), dtype=U64)
    for number, space in enumerate(evidence.spaces):
        fmt = space.table.format
        here = rows["space"] == number
        if here.any():
            size[here] = U64(1) << (U64(12) + level[here].astype(U64) * U64(fmt.index_bits))
    columns = [rows["space"], rows["va"], rows["pa"], size, rows["pte"], rows["pte_pa"], level]
    return Columns(evidence.tables.pointers.dtype, len(rows), [np.array(column) for column in columns])


def _same_root(evidence: Evidence, roots: np.ndarray, names: list[str]) -> Iterator[Hits]:
    unique, first, which = np.unique(roots, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[which] != np.arange(len(roots)))
    yield space_hits(
        again, unique[which[again]],
        lambda place: f"its root table at {place.pa:#x} is the root of {names[place.fact]} too",
        fact=first[which[again]],
    )  # fmt: skip


def table_in_free_frame(evidence: Evidence) -> Iterator[Hits]:
    """Tables, roots among them, whose frame is on a free list."""
    rows = evidence.tables.tables
    rows = rows[[evidence.spaces[number].state != DEAD for number in rows["space"].tolist()]]
    numbers = evidence.frames.of(rows["pa"])
    dead = (numbers >= 0) & evidence.free[numbers]
    roots = dead & (rows["pte_pa"] == 0)
    yield space_hits(
        rows["space"][roots], rows["pa"][roots],
        lambda place: f"its root table at {place.pa:#x} is a frame on the free list: the next kalloc gives it away",
    )  # fmt: skip
    # Under a free root nothing is a table any more; only what hangs on a table that is not free is told.
    parents = evidence.frames.of(rows["pte_pa"])
    below = dead & ~roots & ~((parents >= 0) & evidence.free[parents])
    yield mapping_hits(
        _first_pointers(evidence, rows[below]),
        lambda place: f"the table at {place.pa:#x} is a frame on the free list: the next kalloc gives it away",
    )


def satp_root(evidence: Evidence) -> Iterator[Hits]:
    """Harts whose satp names a root that is free, or that is something else by now."""
    known = {space.table.root for space in evidence.spaces}
    for hart in evidence.machine.harts:
        if not hart.satp:
            continue
        xlen = 32 if all(space.table.format.xlen == 32 for space in evidence.spaces) and evidence.spaces else 64
        try:
            satp = decode_satp(hart.satp, xlen)
        except BadAddress:
            yield _satp_hit(0, hart.satp, f"satp of hart {hart.number} is {hart.satp:#x}, whose MODE is reserved")
            continue
        if satp.format is None or (satp.root in known and not _is_free(evidence, satp.root)):
            continue
        why = _why_no_root(evidence, satp.root)
        if why:
            yield _satp_hit(
                satp.root, hart.satp, f"satp of hart {hart.number} is {hart.satp:#x}: its root {satp.root:#x} {why}"
            )


def _satp_hit(root: int, satp: int, message: str) -> Hits:
    return space_hits(np.array([-1]), np.array([root], dtype=U64), lambda place: message, fact=np.array([satp], U64))


def _is_free(evidence: Evidence, pa: int) -> bool:
    number = int(evidence.frames.of(np.array([pa], dtype=U64))[0])
    return evidence.knows_free and number >= 0 and bool(evidence.free[number])


def _why_no_root(evidence: Evidence, root: int) -> str:
    number = int(evidence.frames.of(np.array([root], dtype=U64))[0])
    if number < 0:
        return "is outside memory"
    if _is_free(evidence, root):
        return "is a frame on the free list"
    role = Role(int(evidence.roles[number]))
    if role in IN_USE and evidence.guest == "xv6":
        return f"is a frame that serves as {role.label} now"
    return ""


def too_many_mappings(evidence: Evidence) -> Iterator[Hits]:
    """Spaces that list more mappings than memory can explain."""
    numbers = np.array(sorted({*evidence.refused, *evidence.tables.cut}), dtype=np.int32)
    yield space_hits(
        numbers, np.array([evidence.spaces[number].table.root for number in numbers], dtype=U64), _too_many
    )


def _too_many(place: Place) -> str:
    return (
        f"the tables from {place.pa:#x} list more mappings than this machine's memory explains; "
        "what its leaves say was not looked at"
    )


RULES = (
    Rule(
        "PB007", "table-loop", "A table has one place in a space.", Severity.ERROR,
        "Find who wrote this PTE; a table freed too early and used again looks like this.", table_loop,
    ),
    Rule(
        "PB008", "shared-table", "Two spaces have no table in common, but for a kernel half shared by design.",
        Severity.ERROR, "Give each space tables of its own: copy the mappings, not the pointers.", shared_table,
    ),
    Rule(
        "PB017", "table-in-free-frame", "A table that is in use is not on the free list.", Severity.ERROR,
        "Free a table only after the last pointer to it is gone, and a root after satp has left it.",
        table_in_free_frame, blind=Evidence.blind_to_free,
    ),
    Rule(
        "PB018", "satp-root", "The root in satp is a table that is in use.", Severity.ERROR,
        "Load satp with another root, and fence, before a process's tables are freed.", satp_root,
    ),
    Rule(
        "PB019", "too-many-mappings", "A space maps no more than memory can explain.", Severity.ERROR,
        "Look at the tables with 'pagebook tree --depth 1'; they loop, or the root is no table.", too_many_mappings,
    ),
)  # fmt: skip
