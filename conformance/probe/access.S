# The probe's only touch of translated memory: attempt(op, va, value, mstatus bits) makes one access in the regime that
# the mstatus bits describe (MPRV with MPP, SUM, MXR), and always comes back.  What it trapped with is in trap_cause,
# trap_tval and trap_pc; trap_cause is -1 when it did not trap.  A fetch is made by mret, and comes back by the trap that
# the code at the target makes.
#include "layout.h"

        .section .text.start
        .globl  _start
_start: la      t0, trap
        csrw    mtvec, t0
        li      t0, -1
        csrw    pmpaddr0, t0
        li      t0, 0x1f
        csrw    pmpcfg0, t0
        la      sp, stack_top
        call    run
        # Spike: tohost.  QEMU: the test device.  What the other one does not know traps, and is not missed.
        la      t0, tohost
        li      t1, 1
        SW_REG  t1, 0(t0)
        fence
1:      la      t0, 2f
        csrw    mtvec, t0
        li      t0, 0x100000
        li      t1, 0x5555
        sw      t1, 0(t0)
        .balign 4
2:      wfi
        j       2b

        .text
        .globl  attempt
attempt:
        la      t0, operations
        slli    t1, a0, 2
        add     t0, t0, t1
        li      t1, -1
        la      t2, trap_cause
        SW_REG  t1, 0(t2)
        li      a0, 0
        csrs    mstatus, a3
        jr      t0
        .option push
        .option norvc
        .option norelax
operations:
        j       load1
        j       load2
        j       load4
        j       load8
        j       store1
        j       store2
        j       store4
        j       store8
        j       swap4
        j       swap8
        j       fetch
        .option pop
load1:  lbu     a0, 0(a1)
        j       resume
load2:  lhu     a0, 0(a1)
        j       resume
load4:  LW_U    a0, 0(a1)
        j       resume
store1: sb      a2, 0(a1)
        j       resume
store2: sh      a2, 0(a1)
        j       resume
store4: sw      a2, 0(a1)
        j       resume
swap4:  amoswap.w a0, a2, (a1)
        j       resume
#if __riscv_xlen == 64
load8:  ld      a0, 0(a1)
        j       resume
store8: sd      a2, 0(a1)
        j       resume
swap8:  amoswap.d a0, a2, (a1)
        j       resume
#else
load8:
store8:
swap8:  j       resume
#endif
fetch:  csrw    mepc, a1
        mret

        .balign 4
trap:   csrr    t0, mcause
        la      t1, trap_cause
        SW_REG  t0, 0(t1)
        csrr    t0, mtval
        la      t1, trap_tval
        SW_REG  t0, 0(t1)
        csrr    t0, mepc
        la      t1, trap_pc
        SW_REG  t0, 0(t1)
resume: li      t0, MSTATUS_REGIME
        csrc    mstatus, t0
        ret

        # write_menvcfg(pbmte and adue bits): gives up quietly where the register does not exist.
        .globl  write_menvcfg
write_menvcfg:
        la      t0, 1f
        csrw    mtvec, t0
#if __riscv_xlen == 64
        csrw    0x30a, a0
#else
        csrw    0x31a, a0
#endif
        .balign 4
1:      la      t0, trap
        csrw    mtvec, t0
        ret

        .bss
        .balign 8
        .globl  trap_cause, trap_tval, trap_pc
trap_cause:     .space 8
trap_tval:      .space 8
trap_pc:        .space 8
        .balign 16
        .space  4096
stack_top:
        .section .tohost, "aw"
        .balign 64
        .globl  tohost, fromhost
tohost:         .dword 0
        .balign 64
fromhost:       .dword 0
