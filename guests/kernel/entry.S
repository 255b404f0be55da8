# From reset, in M-mode, to main in S-mode: all of memory allowed, no translation yet, every trap a full stop.
    .section .text.entry
    .globl _entry
_entry:
    csrr t0, mhartid
    bnez t0, stop
    la sp, stack_top
    la t0, stop
    csrw mtvec, t0
    li t0, -1
    srli t0, t0, 10
    csrw pmpaddr0, t0
    li t0, 0xf
    csrw pmpcfg0, t0
    csrw satp, zero
    li t0, 3 << 11
    csrc mstatus, t0
    li t0, 1 << 11
    csrs mstatus, t0
    la t0, main
    csrw mepc, t0
    mret

stop:
    wfi
    j stop

    .section .bss
    .balign 4096
    .space 4096
stack_top:
