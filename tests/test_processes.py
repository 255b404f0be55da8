"""QEMU processes found in /proc, and their command lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_qemu import entry
from pagebook.errors import BadTarget
from pagebook.sources.processes import (
    Backend,
    CommandLine,
    Socket,
    choose,
    is_port,
    keyvals,
    memory_size,
    parse,
    running,
)

XV6 = (
    "-machine virt -bios none -kernel kernel/kernel -m 128M -smp 3 -nographic -global virtio-mmio.force-legacy=false "
    "-drive file=fs.img,if=none,format=raw,id=x0 -device virtio-blk-device,drive=x0,bus=virtio-mmio-bus.0"
)
RAM = Backend("ram", 128 << 20, None, shared=False)


def test_the_command_line_of_make_qemu_is_understood():
    assert parse(XV6.split()) == CommandLine("virt", 128 << 20, "kernel/kernel", (RAM,), (), None)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", CommandLine(blocks=(RAM,))),
        ("--machine type=virt,aia=none --m 1G", CommandLine("virt", 1 << 30, None, (RAM._replace(size=1 << 30),))),
        ("-M virt -m size=64M,slots=2,maxmem=1G", CommandLine("virt", 64 << 20, None, (RAM._replace(size=64 << 20),))),
        ("-M virt -s", CommandLine("virt", blocks=(RAM,), gdb=Socket(None, "localhost", 1234))),
        ("-M virt -S -gdb tcp::26000", CommandLine("virt", blocks=(RAM,), gdb=Socket(None, "localhost", 26000))),
        ("-gdb tcp:10.0.0.1:99,server=on", CommandLine(blocks=(RAM,), gdb=Socket(None, "10.0.0.1", 99))),
        ("-gdb none", CommandLine(blocks=(RAM,))),
        ("-append -s -kernel k", CommandLine(kernel="k", blocks=(RAM,))),
        ("-mem-path /dev/hugepages", CommandLine(blocks=(Backend("file", 128 << 20, "/dev/hugepages", shared=False),))),
        (
            "-qmp unix:q.sock,server,nowait -monitor tcp:127.0.0.1:55,server=on,wait=off",
            CommandLine(blocks=(RAM,), monitors=(Socket("q.sock"), Socket(None, "127.0.0.1", 55))),
        ),
        ("-qmp unix:client.sock -monitor stdio -qmp tcp:x:99999,server", CommandLine(blocks=(RAM,))),
        (
            "-chardev socket,id=c,path=a,,b,server=on -mon chardev=c,mode=control -chardev socket,id=d,port=5 -mon d",
            CommandLine(blocks=(RAM,), monitors=(Socket("a,b"),)),
        ),
        (
            "-object memory-backend-file,id=m,size=64M,mem-path=/dev/shm/x,share=on -M memory-backend=m -machine virt",
            CommandLine("virt", blocks=(Backend("file", 64 << 20, "/dev/shm/x", shared=True),)),
        ),
        (
            '-object {"qom-type":"memory-backend-memfd","id":"m","size":4194304,"share":false} -M memory-backend=m',
            CommandLine(blocks=(Backend("memfd", 4 << 20, None, shared=False),)),
        ),
        (
            "-object memory-backend-ram,id=b,size=8M -object memory-backend-memfd,id=a,size=4M "
            "-numa node,memdev=a -numa node,nodeid=1,memdev=b -numa cpu,node-id=0",
            CommandLine(blocks=(Backend("memfd", 4 << 20, None, True), Backend("ram", 8 << 20, None, False))),
        ),
    ],
)  # fmt: skip
def test_options_are_read_as_qemu_reads_them(words: str, expected: CommandLine):
    assert parse(words.split()) == expected


@pytest.mark.parametrize(
    ("text", "size"),
    [("128", 128 << 20), ("128M", 128 << 20), ("1.5G", 3 << 29), ("4096K", 4 << 20), ("512b", 512), ("1T", 1 << 40),
     ("0x10", 16 << 20), ("", 0), ("big", 0), ("1" * 30, 0), ("0xg", 0)],
)  # fmt: skip
def test_sizes_are_mebibytes_unless_they_say(text: str, size: int):
    assert memory_size(text) == size


def test_doubled_commas_are_commas():
    assert keyvals("unix:a,,b,server,nowait,x=1,,2") == {"": "unix:a,b", "server": "on", "wait": "off", "x": "1,2"}


@given(st.lists(st.one_of(
    st.sampled_from(["-m", "-object", "-numa", "-machine", "-mon", "-chardev", "-gdb", "-qmp", "-kernel", "-append"]),
    st.text(max_size=12), st.sampled_from(['{"a":[1]}', '{"a":' * 999, "node,memdev=", "tcp:::", "unix:", "size=9E"]),
), max_size=12))  # fmt: skip
def test_no_command_line_is_an_error(words: list[str]):
    assert parse(words).blocks


def test_a_qemu_is_known_by_its_program_or_by_its_name_when_the_program_is_hidden(tmp_path: Path):
    entry(tmp_path, 40, ["qemu-system-riscv64", *XV6.split()], uid=7)
    entry(
        tmp_path,
        5,
        ["./build/qemu-system-riscv32"],
        program="/home/a/qemu/build/qemu-system-riscv32 (deleted)",
        comm="x",
    )
    entry(tmp_path, 6, ["qemu-system-riscv64"], program=None)
    entry(tmp_path, 7, ["/opt/qemu-system-riscv64"], program=None, comm="renamed")
    entry(tmp_path, 8, ["sh", "-c", "qemu-system-riscv64"], program="/bin/sh", comm="sh")
    entry(tmp_path, 9, ["qemu-system-x86_64"], program="/usr/bin/qemu-system-x86_64", comm="qemu-system-x86")
    entry(tmp_path, 10, [])
    entry(tmp_path, 11, ["qemu-system-riscv64"], state="Z")
    (tmp_path / "12").mkdir()
    (tmp_path / "uptime").write_text("1")
    found = running(tmp_path)
    assert [(one.pid, one.uid) for one in found] == [(5, 1000), (6, 1000), (7, 1000), (40, 7)]
    assert str(found[3]) == "40 (kernel/kernel, 128M)"
    assert str(found[0]) == "5 (no -kernel, 128M)"


@pytest.mark.parametrize("status", ["", "Uid:\n", "Uid: x\n", "Uid:" + " " + "9" * 5000 + "\n"])
def test_a_process_whose_owner_cannot_be_read_is_passed_over(tmp_path: Path, status: str):
    (entry(tmp_path, 5, ["qemu-system-riscv64"]) / "status").write_text(status)
    assert running(tmp_path) == []


def test_without_proc_it_is_said_what_to_do(tmp_path: Path):
    with pytest.raises(BadTarget, match=r"no /proc.*qmp:qmp.sock"):
        running(tmp_path / "none")


def test_a_process_is_alive_until_it_ends_or_its_number_is_another_s(tmp_path: Path):
    entry(tmp_path, 5, ["qemu-system-riscv64"])
    (one,) = running(tmp_path)
    assert one.alive()
    entry(tmp_path, 5, ["qemu-system-riscv64"], started=78)
    assert not one.alive()
    entry(tmp_path, 5, ["qemu-system-riscv64"], state="Z")
    assert not one.alive()
    (tmp_path / "5" / "stat").unlink()
    assert not one.alive()


def test_file_names_are_those_of_where_it_was_started(tmp_path: Path):
    entry(tmp_path, 5, ["qemu-system-riscv64"], cwd=Path("/home/a/xv6"))
    (one,) = running(tmp_path)
    assert (one.file("kernel/kernel"), one.file("/k")) == ("/home/a/xv6/kernel/kernel", "/k")
    (tmp_path / "5" / "cwd").unlink()
    assert (one.file("kernel/kernel"), one.file("/k")) == (None, "/k")


def test_what_runs_is_the_kernels_file_or_else_the_folder(tmp_path: Path):
    entry(tmp_path, 5, ["q", *XV6.split()], cwd=Path("/home/a/xv6"))
    entry(tmp_path, 6, ["q", "-m", "1G"], cwd=Path("/home/b"))
    entry(tmp_path, 7, ["q", *XV6.split()])
    assert [one.runs for one in running(tmp_path)] == [
        "/home/a/xv6/kernel/kernel",
        "what was started in /home/b",
        "kernel/kernel",
    ]


def test_the_only_qemu_of_the_user_is_chosen_and_any_for_root(tmp_path: Path):
    entry(tmp_path, 5, ["q", *XV6.split()], uid=7, cwd=Path("/home/a/xv6"))
    entry(tmp_path, 6, ["q", "-m", "1G"], uid=8)
    found = running(tmp_path)
    assert choose(found, 7).pid == 5
    assert choose(found[1:], 0).pid == 6
    with pytest.raises(
        BadTarget,
        match=r"^2 QEMUs are running; choose one: qemu:5 \(kernel/kernel, 128M\) in /home/a/xv6; qemu:6",
    ):
        choose(found, 0)
    with pytest.raises(
        BadTarget, match=r"no qemu-system.*those of others.*5 \(kernel/kernel, 128M\) of user 7, 6 .*user 8"
    ):
        choose(found, 9)
    with pytest.raises(BadTarget, match="no qemu-system-riscv64 of this user is running; start one: make qemu"):
        choose([], 0)


@pytest.mark.parametrize("digits", ["7" * 5000, "0", "65536", "٣"])
def test_a_number_that_is_no_port_is_none(digits: str):
    assert not is_port(digits)
    assert parse(["qemu-system-riscv64", "-qmp", f"tcp:127.0.0.1:{digits},server=on"]).monitors == ()
