"""A running guest: found, looked at, frozen, and never changed.

What stands for QEMU is a process that holds a guest's RAM; the guest is the model, booted.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import partial
from pathlib import Path

import pytest

import pagebook.sources.ram
from elves import EXECUTE, READ, build_elf
from fake_qemu import LINUX, entry
from pagebook.errors import BadTarget, PagebookError, SourceLost
from pagebook.memory import FetchedRegion
from pagebook.scan import scan
from pagebook.source import Source
from pagebook.sources.processes import Socket
from pagebook.sources.qemu import Qemu
from pagebook.sources.qmp import Monitor
from pagebook.table import AddressSpace
from scenes import BASE, CODE, MODEL, PAGE, RAM, ROOT, SATP, SIZE, XV6, Scene, hart, same_tables

pytestmark = LINUX


def fetched(source: Source) -> bool:
    return any(isinstance(region, FetchedRegion) for region in source.memory.regions)


def test_a_guest_started_with_nothing_set_up_is_read_through_its_process(scene: Scene):
    scene.start()
    source = scene.find().look()
    assert (source.name, source.live, source.harts) == ("qemu 5 (kernel/kernel)", True, ())
    assert [(r.base, r.size) for r in source.memory.regions] == [(BASE, SIZE)]
    assert fetched(source)
    same_tables(source)
    assert not source.memory.regions[0].direct
    assert bytes(source.memory.regions[0].data) == RAM
    remark = source.no_satp
    assert remark.startswith("satp, privilege and registers of the harts are not known: this QEMU has no monitor")
    assert remark.endswith("QEMUOPTS += -qmp unix:qmp.sock,server,nowait")


def test_every_look_is_fresh_and_an_old_one_does_not_change(scene: Scene):
    child = scene.start()
    qemu = scene.find("qemu:5")
    before = qemu.look()
    assert before.memory.read64(BASE) == int.from_bytes(RAM[:8], "little")
    child.poke(0, 0, 0x77)
    child.poke(0, PAGE, 0x78)
    assert before.memory.read64(BASE) == int.from_bytes(RAM[:8], "little")
    assert before.memory.read64(BASE + PAGE) == 0x78
    assert qemu.look().memory.read64(BASE) == 0x77


def test_a_shared_file_is_looked_at_in_place(scene: Scene):
    child = scene.start(
        "-object", f"memory-backend-file,id=m,size=2060K,mem-path={scene.path}/ram0,share=on",
        "-machine", "memory-backend=m", how="shared",
    )  # fmt: skip
    source = scene.find().look()
    assert not fetched(source)
    assert not source.memory.regions[0].writable
    same_tables(source)
    child.poke(0, 0, 0x77)
    assert source.memory.read64(BASE) == 0x77


def test_a_file_that_is_not_shared_is_not_believed(scene: Scene):
    """Without share=on the guest's writes never reach the file: the process's own memory counts."""
    words = f"-object memory-backend-file,id=m,size=2060K,mem-path={scene.path}/ram0 -machine memory-backend=m"
    child = scene.start(*words.split(), how="copied")
    child.poke(0, 0, 0x77)
    source = scene.find().look()
    assert fetched(source)
    assert source.memory.read64(BASE) == 0x77
    assert bytes(source.memory.regions[0].data[8:]) == RAM[8:]
    assert (scene.path / "ram0").read_bytes() == RAM


def test_several_blocks_are_joined_in_the_order_of_their_nodes_by_what_the_kernel_s_file_says(scene: Scene):
    half = SIZE // 2 & -PAGE
    words = [f"-object memory-backend-ram,id=m{n},size={half // 1024}K -numa node,memdev=m{n}" for n in (0, 1)]
    code = bytes(range(1, 256)) * 40
    (scene.path / "kernel").mkdir()
    for first in (0, 1):  # whichever of the two was made first
        data = bytearray(2 * half)
        data[PAGE : PAGE + len(code)] = code
        halves = [bytes(data[:half]), b"\x07" * half]
        elf = build_elf([(BASE + PAGE, len(code), len(code), READ | EXECUTE, code)], entry=BASE + PAGE)
        (scene.path / "kernel" / "kernel").write_bytes(elf)
        scene.start(*" ".join(words).split(), parts=(half, half), data=b"".join(halves[::-1] if first else halves))
        source = scene.find().look()
        assert [(r.base, r.size) for r in source.memory.regions] == [(BASE, 2 * half)]
        assert source.memory.read(BASE + PAGE, len(code)) == code
        assert source.memory.read(BASE + half, 8) == b"\x07" * 8
        assert source.kernel == str(scene.path / "kernel" / "kernel")
        assert source.remarks == ()
        for name in ("maps", "mem", "pagemap", "fd", "root"):
            (scene.proc / "5" / name).unlink()


def test_when_several_blocks_fit_and_nothing_proves_one_it_is_said(scene: Scene):
    scene.start(parts=(SIZE, SIZE), data=RAM + RAM)
    source = scene.find().look()
    assert "2 blocks of QEMU 5 have the size of RAM, 2060K, and none holds the kernel's code" in source.remarks[0]


def test_a_device_tree_tells_the_block_when_there_is_no_kernel_file(scene: Scene):
    other = bytes(SIZE)
    tree = bytearray(RAM)
    tree[2 << 20 : (2 << 20) + 4] = bytes.fromhex("d00dfeed")
    for data in (other + bytes(tree), bytes(tree) + other):
        scene.start(parts=(SIZE, SIZE), data=data)
        source = scene.find().look()
        assert source.remarks == ()
        assert source.memory.read(BASE, 8) == RAM[:8]
        for name in ("maps", "mem", "pagemap", "fd", "root"):
            (scene.proc / "5" / name).unlink()


def test_a_machine_with_ram_in_two_places_has_it_there(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(
        pagebook.sources.ram.LAYOUTS, "microchip-icicle-kit", ((BASE, 1 << 20), (0x10_0000_0000, 1 << 56))
    )
    scene.start("-machine", "microchip-icicle-kit")
    memory = scene.find().look().memory
    assert [(r.base, r.size) for r in memory.regions] == [(BASE, 1 << 20), (0x10_0000_0000, SIZE - (1 << 20))]
    assert memory.read(0x10_0000_0000, PAGE) == RAM[1 << 20 : (1 << 20) + PAGE]


def test_where_ram_begins_on_a_machine_that_is_not_known_is_assumed_aloud(scene: Scene):
    scene.start("-machine", "my-board")
    source = scene.find().look()
    assert "on the machine 'my-board' is assumed to be 0x80000000; a monitor would tell" in source.remarks[0]
    assert source.memory.regions[0].base == BASE


def test_a_monitor_of_the_command_line_tells_where_ram_is_and_what_the_harts_do(scene: Scene):
    fake = scene.monitor(None, hart(0, SATP, CODE) + hart(1, 0, 0x1000))
    child = scene.start("-qmp", f"unix:{fake.path},server,nowait", "-machine", "my-board")
    fake.answers[f"gpa2hva {BASE:#x}"] = f"Host virtual address for {BASE:#x} (board.ram) is {child.host[0]:#x}\n"
    source = scene.find().look()
    assert [(h.number, h.satp, h.privilege, h.registers[:2]) for h in source.harts] == [
        (0, SATP, "S", (CODE, 1)), (1, 0, None, (0x1000, 1)),
    ]  # fmt: skip
    assert source.remarks == ()
    assert source.memory.regions[0].name == "board.ram"
    same_tables(source)
    assert set(fake.asked) == {"info mtree -f", f"gpa2hva {BASE:#x}", "info status", "info registers -a"}


def test_ram_at_a_second_address_and_less_than_a_page_of_it_do_not_count(scene: Scene):
    child = scene.start()
    fake = scene.monitor(child)
    fake.answers["info mtree -f"] += (
        "  0000000000000000-00000000000000ff (prio 0, ram): small\n"
        f"  {BASE + (1 << 30):016x}-{BASE + (1 << 30) + SIZE - 1:016x} (prio 0, ram): board.ram\n"
    )
    host = f"Host virtual address for {BASE + (1 << 30):#x} (board.ram) is {child.host[0]:#x}\n"
    fake.answers[f"gpa2hva {BASE + (1 << 30):#x}"] = host
    source = scene.find(f"qmp:{fake.path}").look()
    assert [(r.base, r.size, r.name) for r in source.memory.regions] == [(BASE, SIZE, "board.ram")]
    same_tables(source)


def test_a_monitor_that_names_addresses_of_another_process_is_not_believed(scene: Scene):
    child = scene.start()
    fake = scene.monitor(child)
    fake.answers[f"gpa2hva {BASE:#x}"] = f"Host virtual address for {BASE:#x} (board.ram) is 0x1000\n"
    source = scene.find(f"qmp:{fake.path}").look()
    assert source.memory.regions[0].name == "ram"
    same_tables(source)


USER = MODEL.spaces[-1].table


@pytest.mark.parametrize(
    ("satp", "pc", "mtvec", "privilege"),
    [
        (SATP, CODE, 0, "S"),
        (SATP, CODE, CODE - 8 | 1, None),  # an M-mode handler in the kernel's code looks the same
        (SATP, CODE, CODE - 0x1000, "S"),
        (SATP, 0x1000, 0, "M"),
        (SATP, 1 << 40, 0, None),
        (0, CODE, 0, None),
        (8 << 60 | USER.root >> 12, 0, 0, "U"),
        (8 << 60 | 5, CODE, 0, None),
        (3 << 60, CODE, 0, None),
    ],
)
def test_privilege_is_what_the_page_of_the_pc_leaves(
    scene: Scene, satp: int, pc: int, mtvec: int, privilege: str | None
):
    child = scene.start()
    fake = scene.monitor(child, hart(0, satp, pc, mtvec))
    source = scene.find(f"qmp:{fake.path}").look()
    assert [h.privilege for h in source.harts] == [privilege]


def test_the_process_behind_a_named_monitor_is_found_by_its_port(scene: Scene):
    fake = scene.monitor(None, tcp=True)
    child = scene.start("-qmp", f"tcp:127.0.0.1:{fake.port},server")
    fake.answers[f"gpa2hva {BASE:#x}"] = f"Host virtual address for {BASE:#x} (board.ram) is {child.host[0]:#x}\n"
    qemu = scene.find(f"qmp:127.0.0.1:{fake.port}")
    assert qemu.process
    assert qemu.process.pid == 5
    same_tables(qemu.look())
    assert not [line for line in fake.asked if line.startswith(("xp", "pmemsave"))]


@pytest.mark.parametrize("saves", [True, False])
def test_without_a_process_ram_comes_through_the_monitor_page_by_page(scene: Scene, saves: bool):
    (scene.proc / "self").mkdir(parents=True)
    fake = scene.monitor(None, ram=(BASE, RAM), saves=saves)
    qemu = scene.find(f"qmp:{fake.path}")
    assert qemu.process is None
    source = qemu.look()
    same_tables(source)
    assert bytes(source.memory.regions[0].data) == RAM
    ways = {line.split()[0] for line in fake.asked} - {"info"}
    assert ways == ({"pmemsave"} if saves else {"pmemsave", "xp"})
    assert saves or len([line for line in fake.asked if line.startswith("pmemsave")]) == 1
    assert [h.satp for h in qemu.look().harts] == [SATP]


def test_ram_that_the_system_refuses_comes_through_the_monitor_with_the_reason(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    fake = scene.monitor(None, ram=(BASE, RAM))
    scene.start("-qmp", f"unix:{fake.path},server")
    refuse(monkeypatch, "mem")
    source = scene.find().look()
    assert source.remarks[0].startswith(
        "RAM is read through QEMU's monitor, some hundred times slower: the memory of QEMU 5"
    )
    same_tables(source)


def refuse(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """The system does not let us open these files of a process."""
    real, real_path = os.open, Path.open

    def refused(path: object) -> bool:
        return Path(str(path)).name in names and "/proc/5/" in str(path)

    def my_open(path: object, *args: object, **more: object) -> int:
        if refused(path):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **more)  # type: ignore[arg-type]

    def my_path_open(self: Path, *args: object, **more: object) -> object:
        if refused(self):
            raise PermissionError(13, "Permission denied")
        return real_path(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", my_open)
    monkeypatch.setattr(Path, "open", my_path_open)


def test_ram_that_the_system_refuses_and_nothing_else_gives_is_an_error_with_the_remedy(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    scene.start()
    refuse(monkeypatch, "mem")
    with pytest.raises(BadTarget, match=r"memory of QEMU 5 cannot be read .*QEMUOPTS \+= -object memory-backend-file"):
        scene.find()


def test_a_shared_file_needs_no_rights_over_the_process(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    scene.start(
        "-object", f"memory-backend-file,id=m,size=2060K,mem-path={scene.path}/ram0,share=on",
        "-machine", "memory-backend=m", how="shared",
    )  # fmt: skip
    refuse(monkeypatch, "mem", "maps", "pagemap")
    source = scene.find().look()
    assert not fetched(source)
    same_tables(source)


def test_a_monitor_that_somebody_else_has_is_no_hindrance_but_said(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pagebook.sources.qemu.Monitor", partial(Monitor, greeting_seconds=0.1))
    fake = scene.monitor(None)
    scene.start("-qmp", f"unix:{fake.path},server")
    with Monitor(Socket(fake.path)):
        qemu = scene.find()
        assert "another is connected, or QEMU itself is stopped; close that client, let QEMU" in qemu.look().no_satp
        with (
            pytest.raises(BadTarget, match=r"the guest cannot be stopped: the monitor at .* does not answer"),
            qemu.frozen(),
        ):
            pass
        with pytest.raises(BadTarget, match=r"another (client )?is connected, or QEMU itself is stopped"):
            scene.find(f"qmp:{fake.path}")


def test_a_guest_that_ends_is_a_clear_error_wherever_it_is_noticed(scene: Scene):
    fake = scene.monitor(None)
    child = scene.start("-qmp", f"unix:{fake.path},server")
    fake.answers[f"gpa2hva {BASE:#x}"] = f"Host virtual address for {BASE:#x} (board.ram) is {child.host[0]:#x}\n"
    qemu = scene.find()
    source = qemu.look()
    child.kill()
    for read in (lambda: source.memory.read(BASE, 8), lambda: source.memory.regions[0].words, lambda: scan(
        AddressSpace(source.memory, ROOT))):  # fmt: skip
        with pytest.raises(SourceLost, match="the guest has ended"):
            read()
    entry(scene.proc, 5, XV6, started=99)
    with pytest.raises(SourceLost, match="QEMU 5 has ended"):
        qemu.look()


def test_reading_everything_changes_no_byte_of_the_guest(scene: Scene):
    child = scene.start()
    fake = scene.monitor(child)
    qemu = scene.find(f"qmp:{fake.path}")

    def now() -> str:
        with Path(f"/proc/{child.child.pid}/mem").open("rb") as file:
            file.seek(child.host[0])
            return hashlib.sha256(file.read(SIZE)).hexdigest()

    before = now()
    with qemu.frozen():
        source = qemu.look()
        same_tables(source)
        for space in MODEL.spaces:
            scan(AddressSpace(source.memory, space.table.root))
        assert bytes(source.memory.regions[0].data) == RAM
    assert now() == before
    allowed = ("info ", "gpa2hva ", "stop", "cont")
    assert [line for line in fake.asked if not line.startswith(allowed)] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("qemu:6", r"process 6 is no qemu-system-riscv64; of those there are: qemu:5 \(kernel/kernel, 2060K\)"),
        ("qemu:", "names no QEMU: write qemu, qemu:PID, qmp:PATH or qmp:HOST:PORT"),
        ("qemu:x", "names no QEMU"),
        ("qmp:", "names no QEMU"),
        ("qmp:/nowhere/s", "cannot connect to /nowhere/s"),
        ("qmp:127.0.0.1:1", "nobody listens at 127.0.0.1:1"),
        ("qmp:host:99999999", "99999999 is no port; those go from 1 to 65535"),
    ],
)
def test_words_that_name_no_guest_are_refused_with_what_there_is(scene: Scene, words: str, message: str):
    scene.start()
    with pytest.raises(BadTarget, match=message):
        scene.find(words)


def test_a_kernel_that_is_no_elf_file_is_not_given(scene: Scene):
    (scene.path / "kernel").mkdir()
    (scene.path / "kernel/kernel").write_bytes(b"MZ not an ELF file")
    scene.start()
    found = scene.find().look()
    assert found.kernel is None and "is no ELF file, or is being built" in found.no_kernel
    (scene.path / "kernel/kernel").unlink()
    (scene.path / "kernel/kernel").mkdir()
    assert "is a folder: name its file" in scene.find().look().no_kernel


def test_a_kernel_file_that_is_gone_is_told_and_one_that_is_there_is_not(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    scene.start()
    path = scene.path / "kernel/kernel"
    remedy = "name its file with --kernel FILE"
    assert scene.find().look().no_kernel == f"the kernel of QEMU 5, {path}, is not there any more: {remedy}"
    path.parent.mkdir()
    path.write_bytes(b"\x7fELF" + bytes(60))
    assert scene.find().look().no_kernel == ""
    monkeypatch.setattr("os.access", lambda *_: False)  # root may read everything
    assert scene.find().look().no_kernel == f"the kernel of QEMU 5, {path}, cannot be read: {remedy}"
    (scene.proc / "5" / "cwd").unlink()
    assert scene.find().look().no_kernel == (
        "the kernel of QEMU 5, kernel/kernel, is relative to where QEMU was started, which the system does not tell: "
        + remedy
    )


def test_a_kernel_file_whose_headers_lie_proves_nothing(scene: Scene):
    (scene.path / "kernel").mkdir()
    lies = build_elf([(BASE, 1 << 62, 1 << 63, READ | EXECUTE, b"x" * 9)], entry=BASE)
    for kernel in (lies, lies[:80], b"\x7fELF" + bytes(60)):
        (scene.path / "kernel/kernel").write_bytes(kernel)
        scene.start(parts=(SIZE, SIZE), data=RAM + RAM)
        assert "none holds the kernel's code" in scene.find().look().remarks[0]
        for name in ("maps", "mem", "pagemap", "fd", "root"):
            (scene.proc / "5" / name).unlink()


@pytest.mark.parametrize("kind", ["ram", "file,mem-path=/dev/null,share=on"])
def test_a_backend_of_no_size_is_told(scene: Scene, kind: str):
    scene.start("-object", f"memory-backend-{kind},id=m,size=0", "-machine", "memory-backend=m")
    with pytest.raises(BadTarget, match="QEMU 5 has no block of 0 for its RAM"):
        scene.find()


@pytest.mark.parametrize("tree", [
    "0000000000000000-ffffffffffffffff (prio 0, ram): all",
    "0000000000000000-00007fffffffffff (prio 0, ram): much",
    "ff00000000000000-ff00000000000fff (prio 0, ram): high",
    "0000000080000fff-0000000080000000 (prio 0, ram): backwards",
    "0000000000000000-0000000000001fff (prio 0, ram): a\n  0000000000001000-0000000000001fff (prio 0, ram): b",
    "nothing at all",
])  # fmt: skip
def test_a_monitor_that_tells_tales_of_ram_is_a_clear_error(scene: Scene, tree: str):
    (scene.proc / "self").mkdir(parents=True)
    fake = scene.monitor(None)
    fake.answers["info mtree -f"] = f"FlatView #0\n  {tree}\n"
    with pytest.raises(PagebookError):
        scene.find(f"qmp:{fake.path}").look().memory.read64(0)


def test_a_block_smaller_than_ram_is_told(scene: Scene):
    scene.start("-m", "1T")
    with pytest.raises(BadTarget, match="QEMU 5 has no block of 1T for its RAM"):
        scene.find()


def test_a_look_outlives_the_way_to_it_where_it_can(scene: Scene):
    scene.start()
    with Qemu.find("qemu", proc=scene.proc, uid=1000) as qemu:
        source = qemu.look()
    same_tables(source)
    with pytest.raises(SourceLost, match="was let go of; find it again"):
        qemu.look()


def test_a_look_through_a_monitor_ends_with_it_and_leaves_no_file(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    (scene.proc / "self").mkdir(parents=True)
    made: list[str] = []
    real = tempfile.mkdtemp

    def record(**more: object) -> str:
        made.append(real(dir=scene.path))
        return made[-1]

    fake = scene.monitor(None, ram=(BASE, RAM))
    monkeypatch.setattr(tempfile, "mkdtemp", record)
    with Qemu.find(f"qmp:{fake.path}", proc=scene.proc) as qemu:
        source = qemu.look()
        same_tables(source)
        assert list(Path(made[0]).iterdir()) == []
    assert [path for path in made if Path(path).exists()] == []
    with pytest.raises(SourceLost, match="was let go of before all was read through it"):
        source.memory.read64(BASE)


def test_it_lets_go_of_everything_when_it_is_closed(scene: Scene):
    scene.start()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with Qemu.find("qemu", proc=scene.proc, uid=1000) as qemu:
        qemu.look()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
