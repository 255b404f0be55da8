// Where the probe and the host that feeds it keep things.  conformance/layout.py says the same for the host.
#ifndef LAYOUT_H
#define LAYOUT_H

#define RAM             0x80000000
#define HEADER          0x80008000   // count of cases, menvcfg bits
#define DATA            0x81000000   // every aligned 8-byte word here holds its own address, but for the code slots
#define DATA_END        0x81fff000   // the last page of memory is the host's
#define CODE_SLOT       0xfe0        // in every data page: lui a0, page number; ecall
#define WITNESS_SLOT    0xfd0        // in every data page: never the target of an access
#define PAGE            4096

// MPP, MPRV, SUM, MXR
#define MSTATUS_REGIME  ((3 << 11) | (1 << 17) | (1 << 18) | (1 << 19))

#if __riscv_xlen == 64
#define SW_REG  sd
#define LW_U    lwu
#else
#define SW_REG  sw
#define LW_U    lw
#endif

#endif
