// A bare-metal probe of address translation.  The host puts page tables and a list of cases into memory; for each case
// the probe makes one access in the regime described, in M-mode with MPRV (a fetch by mret), and writes down how it
// trapped, what it read, which frame it reached, and the PTEs afterwards.  Then it puts everything back.
#include "layout.h"

typedef unsigned long word;
typedef unsigned long long u64;

struct header { u64 cases, count, results, menvcfg; };

struct test {
  u64 satp, va, pte[2];      // pte: addresses of the PTEs that may change, 0 for none
  unsigned op, mstatus;      // op: an index of the operations in access.S
};

struct result {
  u64 cause, tval, value, witness[2], pte[2];
};

enum { LOAD8 = 3, STORE1 = 4, STORE8 = 7, SWAP4 = 8, SWAP8 = 9, FETCH = 10 };
static const word size_of[] = {1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 4};

extern word attempt(unsigned op, word va, word value, word mstatus);
extern void write_menvcfg(word bits);
extern volatile word trap_cause, trap_tval, trap_pc;

#define NONE (~0ull)

static void fill(void) {
  for (word page = DATA; page != DATA_END; page += PAGE) {
    for (word at = page; at < page + PAGE; at += 8) *(volatile u64 *)at = at;
    volatile unsigned *code = (volatile unsigned *)(page + CODE_SLOT);
    code[0] = (unsigned)(page & 0xfffff000) | 0x537;
    code[1] = 0x73;
  }
}

static u64 read_pte(u64 at) {
#if __riscv_xlen == 64
  return *(volatile u64 *)(word)at;
#else
  return *(volatile unsigned *)(word)at;
#endif
}

static void write_pte(u64 at, u64 pte) {
#if __riscv_xlen == 64
  *(volatile u64 *)(word)at = pte;
#else
  *(volatile unsigned *)(word)at = (unsigned)pte;
#endif
}

// Which frame stands behind the page of va: the witness slot holds its own address.
static u64 witness(word va, word mstatus) {
  word slot = (va & ~(word)(PAGE - 1)) | WITNESS_SLOT;
#if __riscv_xlen == 64
  word value = attempt(LOAD8, slot, 0, mstatus);
#else
  word value = attempt(2, slot, 0, mstatus);
#endif
  return trap_cause == (word)-1 ? value : NONE;
}

// Write the addresses back over the words that a store of size bytes at va changed in the frame that slot is in.
static void mend(u64 slot, word va, word size) {
  if (slot < DATA || slot >= DATA_END) return;
  word target = ((word)slot & ~(word)(PAGE - 1)) | (va & (PAGE - 8));
  for (word last = target + ((va & 7) + size - 1); target <= last; target += 8) *(volatile u64 *)target = target;
}

static void one(const struct test *test, struct result *out) {
  u64 before[2];
  for (int i = 0; i < 2; i++) before[i] = test->pte[i] ? read_pte(test->pte[i]) : 0;
  word va = (word)test->va, size = size_of[test->op];
  __asm__ volatile("csrw satp, %0\n\tsfence.vma" : : "r"((word)test->satp) : "memory");
  word value = attempt(test->op, va, (word)0xa5a5a5a5a5a5a5a5ull, test->mstatus);
  word cause = trap_cause, tval = trap_tval;
  if (test->op == FETCH && (cause == 8 || cause == 9 || cause == 11) && trap_pc == va + 4) cause = (word)-1;
  out->cause = cause == (word)-1 ? NONE : cause;
  out->tval = cause == (word)-1 ? 0 : tval;
  out->value = cause == (word)-1 ? value : 0;
  for (int i = 0; i < 2; i++) out->pte[i] = test->pte[i] ? read_pte(test->pte[i]) : 0;
  out->witness[0] = out->witness[1] = NONE;
  if (test->op != FETCH) {
    word last = va + size - 1, boundary = last & ~(word)(PAGE - 1);
    int straddles = boundary != (va & ~(word)(PAGE - 1));
    word first = witness(va, test->mstatus), second = straddles ? (word)witness(last, test->mstatus) : (word)-1;
    if (cause == (word)-1) {
      out->witness[0] = first;
      if (straddles) out->witness[1] = second;
    }
    if (test->op >= STORE1) {
      mend(first, va, straddles ? boundary - va : size);
      if (straddles) mend(second, boundary, last + 1 - boundary);
    }
  }
  for (int i = 0; i < 2; i++) if (test->pte[i]) write_pte(test->pte[i], before[i]);
}

void run(void) {
  const struct header *header = (const struct header *)HEADER;
  const struct test *tests = (const struct test *)(word)header->cases;
  struct result *results = (struct result *)(word)header->results;
  write_menvcfg((word)header->menvcfg);
  fill();
  for (word i = 0; i < (word)header->count; i++) one(&tests[i], &results[i]);
  __asm__ volatile("csrw satp, zero\n\tsfence.vma");
}
