// One address at a time, in C: the rules of an access by a hart, as pagebook's mmu has them, on memory in regions.
//
// What does not change from one address to the next is worked out before the first, and the compiler sees all of a walk in
// one piece, with the number of levels known: so several walks are under way at once in the processor.  A sound 4 KiB
// leaf is known by one comparison; for all else the tests have the specification's order.  The numbers of the enum are
// those of pagebook.mmu.RULES.  RV64 only.

#include <stdint.h>
#include <time.h>

enum {
    FINE,
    AMO_MISALIGNED,
    NON_CANONICAL,
    TABLE_OUTSIDE,
    V_CLEAR,
    W_WITHOUT_R,
    RESERVED_BITS,
    N_RESERVED,
    PBMT_RESERVED,
    PBMT_3,
    POINTER_RESERVED,
    NAPOT_RESERVED,
    LAST_POINTER,
    MISALIGNED_SUPERPAGE,
    USER_PAGE,
    SUPERVISOR_PAGE,
    NOT_READABLE,
    NOT_WRITABLE,
    NOT_EXECUTABLE,
    A_CLEAR,
    D_CLEAR,
    TARGET_OUTSIDE,
};

enum kind { LOAD, STORE, FETCH, AMO };

#define PAGE 4096UL
#define V 0x01UL
#define R 0x02UL
#define W 0x04UL
#define X 0x08UL
#define U 0x10UL
#define A 0x40UL
#define D 0x80UL
#define RWX (R | W | X)
#define N (1UL << 63)
#define PBMT (3UL << 61)
#define HIGH (0x3FFUL << 54)
#define PPN(pte) ((pte) >> 10 & ((1UL << 44) - 1))
#define INLINE static inline __attribute__((always_inline))
#define unlikely(x) __builtin_expect(!!(x), 0)

struct region {
    const uint8_t *bytes;
    uint64_t base, size;
};

struct hart {
    const struct region *regions; // those with bytes first, then the devices, which answer but hold no tables
    uint64_t count, answering;
    uint64_t root, levels;
    uint64_t reserved; // the bits that no extension gives a meaning to
    uint64_t svadu, svnapot, svpbmt;
    uint64_t user, sum, mxr;
    uint64_t kind, size;
    uint64_t care, want; // set here: of these bits, a 4 KiB leaf that is plainly good has just those
};

INLINE int inside(const struct region *r, uint64_t pa, uint64_t size) {
    return pa - r->base < r->size && r->size - (pa - r->base) >= size;
}

INLINE const uint64_t *at(const struct hart *h, uint64_t pa) {
    for (uint64_t i = 0; i < h->count; i++)
        if (inside(&h->regions[i], pa, 8))
            return (const uint64_t *)(h->regions[i].bytes + (pa - h->regions[i].base));
    return 0;
}

INLINE int answers(const struct hart *h, uint64_t pa, uint64_t size) {
    for (uint64_t i = 0; i < h->answering; i++)
        if (inside(&h->regions[i], pa, size))
            return 1;
    return 0;
}

// The rule that a PTE breaks where the walk stops: is it a leaf, is it sound, may this access use it?
INLINE int judge(const struct hart *h, uint64_t pte, unsigned level) {
    if (unlikely(!(pte & V)))
        return V_CLEAR;
    if (unlikely((pte & (R | W)) == W))
        return W_WITHOUT_R;
    if (unlikely(pte >> 54)) {
        if (pte & h->reserved)
            return RESERVED_BITS;
        if (pte & N && !h->svnapot)
            return N_RESERVED;
        if (pte & PBMT && !h->svpbmt)
            return PBMT_RESERVED;
    }
    if (unlikely(!(pte & RWX)))
        return pte & (D | A | U | PBMT | N) ? POINTER_RESERVED : LAST_POINTER;
    if (unlikely(pte >> 61)) {
        if ((pte & PBMT) == PBMT)
            return PBMT_3;
        if (pte & N && (level || (PPN(pte) & 15) != 8))
            return NAPOT_RESERVED;
    }
    if (unlikely(level) && PPN(pte) & ((1UL << 9 * level) - 1))
        return MISALIGNED_SUPERPAGE;
    if (h->user) {
        if (unlikely(!(pte & U)))
            return SUPERVISOR_PAGE;
    } else if (unlikely(pte & U) && (h->kind == FETCH || !h->sum)) {
        return USER_PAGE;
    }
    if (h->kind == FETCH) {
        if (unlikely(!(pte & X)))
            return NOT_EXECUTABLE;
    } else if (h->kind == LOAD) {
        if (unlikely(!(pte & R)) && !(h->mxr && pte & X))
            return NOT_READABLE;
    } else if (unlikely(!(pte & W))) {
        return NOT_WRITABLE;
    }
    if (!h->svadu) {
        if (unlikely(!(pte & A)))
            return A_CLEAR;
        if (unlikely(!(pte & D)) && h->kind & 1)
            return D_CLEAR;
    }
    return FINE;
}

INLINE int one_page(const struct hart *h, unsigned levels, uint64_t va, uint64_t size, uint64_t *pa) {
    unsigned unused = 64 - (12 + 9 * levels);
    if (unlikely((uint64_t)((int64_t)(va << unused) >> unused) != va))
        return NON_CANONICAL;
    uint64_t table = h->root, pointer = V | RWX | U | A | D | h->reserved | PBMT | N;
    #pragma GCC unroll 3
    for (int level = levels - 1; level >= 0; level--) {
        const uint64_t *entry = at(h, table + (va >> (12 + 9 * level) & 511) * 8);
        if (unlikely(!entry))
            return TABLE_OUTSIDE;
        uint64_t pte = *entry;
        if (level && (pte & pointer) == V) {
            table = PPN(pte) << 12;
            continue;
        }
        if (unlikely((pte & h->care) != h->want || level)) {
            int broken = judge(h, pte, level);
            if (broken)
                return broken;
        }
        uint64_t low = unlikely(pte & N) ? 0xFFFF : (PAGE << 9 * level) - 1;
        *pa = (PPN(pte) << 12 & ~low) | (va & low);
        return answers(h, *pa, size) ? FINE : TARGET_OUTSIDE;
    }
    __builtin_unreachable();
}

INLINE int one_access(const struct hart *h, unsigned levels, uint64_t va, uint64_t *pa) {
    uint64_t first = PAGE - va % PAGE, ignored;
    if (h->kind == AMO && va & (h->size - 1))
        return AMO_MISALIGNED;
    if (first >= h->size)
        return one_page(h, levels, va, h->size, pa);
    int broken = one_page(h, levels, va, first, pa);
    return broken ? broken : one_page(h, levels, va + first, h->size - first, &ignored);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

INLINE void each(const struct hart *h, unsigned levels, const uint64_t *restrict vas, uint64_t count,
                 uint64_t *restrict pas, uint8_t *restrict status) {
    for (uint64_t i = 0; i < count; i++) {
        uint64_t pa = 0;
        status[i] = one_access(h, levels, vas[i], &pa);
        pas[i] = status[i] ? 0 : pa;
    }
}

// Every access: its physical address, 0 where it faults, and its status; the nanoseconds that it took.
int64_t time_translate(const struct hart *hart, const uint64_t *restrict vas, uint64_t count, uint64_t *restrict pas,
                       uint8_t *restrict status) {
    int64_t start = now();
    struct hart h = *hart;
    h.want = V | R | (h.kind == LOAD ? 0 : h.kind == FETCH ? X : W) | (h.user ? U : 0);
    if (!h.svadu)
        h.want |= A | (h.kind & 1 ? D : 0);
    h.care = h.want | (h.user ? 0 : U) | HIGH;
    if (h.levels == 3)
        each(&h, 3, vas, count, pas, status);
    else
        each(&h, h.levels, vas, count, pas, status);
    return now() - start;
}
