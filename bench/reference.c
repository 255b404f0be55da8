// The same algorithm in C: xv6's memory manager, a page at a time and a PTE at a time, on RAM that the caller gives.
//
// A pointer of the kernel is a physical address here, so every access goes through at().  There are no locks, since
// there is one thread.  kalloc and kfree must not be inlined: in the kernel they are a file of their own, and the
// compiler, seeing a page filled with 5 and then with 0, would leave the first out.  Every function with a time
// measures itself, in processor time of the thread, and gives nanoseconds.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PGSIZE 4096UL
#define PGROUNDUP(a) (((a) + PGSIZE - 1) & ~(PGSIZE - 1))
#define PTE_V 1UL
#define PTE_R 2UL
#define PTE_W 4UL
#define PTE_X 8UL
#define PTE2PA(pte) ((pte) >> 10 << 12)
#define PA2PTE(pa) ((pa) >> 12 << 10)
#define INDEX(level, va) ((va) >> (12 + 9 * (level)) & 0x1ff)
#define MAXVA (1UL << 38)
#define TRAMPOLINE (MAXVA - PGSIZE)
#define KSTACK(p) (TRAMPOLINE - ((p) + 1) * 2 * PGSIZE)
#define SEPARATE __attribute__((noipa))

struct machine {
    uint8_t *ram;
    uint64_t base, end, physstop, freelist;
};

struct device {
    uint64_t base, size;
};

struct layout {
    uint64_t etext, trampoline, nproc, ndevices;
    struct device devices[8];
};

struct mapping {
    uint64_t va, pa, flags;
};

static inline uint64_t *at(const struct machine *m, uint64_t pa) { return (uint64_t *)(m->ram + (pa - m->base)); }

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

SEPARATE void kfree(struct machine *m, uint64_t pa) {
    if (pa % PGSIZE || pa < m->end || pa >= m->physstop)
        abort();
    uint64_t *page = at(m, pa);
    memset(page, 1, PGSIZE);
    page[0] = m->freelist;
    m->freelist = pa;
}

SEPARATE uint64_t kalloc(struct machine *m) {
    uint64_t pa = m->freelist;
    if (pa) {
        uint64_t *page = at(m, pa);
        m->freelist = page[0];
        memset(page, 5, PGSIZE);
    }
    return pa;
}

static uint64_t new_table(struct machine *m) {
    uint64_t table = kalloc(m);
    if (table)
        memset(at(m, table), 0, PGSIZE);
    return table;
}

static uint64_t *walk(struct machine *m, uint64_t table, uint64_t va, int alloc) {
    if (va >= MAXVA)
        abort();
    for (int level = 2; level > 0; level--) {
        uint64_t *pte = at(m, table) + INDEX(level, va);
        if (*pte & PTE_V) {
            table = PTE2PA(*pte);
        } else {
            if (!alloc || !(table = new_table(m)))
                return NULL;
            *pte = PA2PTE(table) | PTE_V;
        }
    }
    return at(m, table) + INDEX(0, va);
}

static int mappages(struct machine *m, uint64_t root, uint64_t va, uint64_t size, uint64_t pa, uint64_t perm) {
    if (va % PGSIZE || size % PGSIZE || size == 0)
        abort();
    for (uint64_t end = va + size; va != end; va += PGSIZE, pa += PGSIZE) {
        uint64_t *pte = walk(m, root, va, 1);
        if (!pte)
            return -1;
        if (*pte & PTE_V)
            abort();
        *pte = PA2PTE(pa) | perm | PTE_V;
    }
    return 0;
}

static void kvmmap(struct machine *m, uint64_t root, uint64_t va, uint64_t pa, uint64_t size, uint64_t perm) {
    if (mappages(m, root, va, size, pa, perm))
        abort();
}

static void proc_mapstacks(struct machine *m, uint64_t root, uint64_t nproc) {
    for (uint64_t p = 0; p < nproc; p++) {
        uint64_t pa = kalloc(m);
        if (!pa)
            abort();
        kvmmap(m, root, KSTACK(p), pa, PGSIZE, PTE_R | PTE_W);
    }
}

static uint64_t kvmmake(struct machine *m, const struct layout *l) {
    uint64_t root = new_table(m);
    if (!root)
        abort();
    for (uint64_t i = 0; i < l->ndevices; i++)
        kvmmap(m, root, l->devices[i].base, l->devices[i].base, l->devices[i].size, PTE_R | PTE_W);
    kvmmap(m, root, m->base, m->base, l->etext - m->base, PTE_R | PTE_X);
    kvmmap(m, root, l->etext, l->etext, m->physstop - l->etext, PTE_R | PTE_W);
    kvmmap(m, root, TRAMPOLINE, l->trampoline, PGSIZE, PTE_R | PTE_X);
    proc_mapstacks(m, root, l->nproc);
    return root;
}

static struct mapping *list(const struct machine *m, uint64_t table, uint64_t va, int level, struct mapping *out) {
    const uint64_t *ptes = at(m, table);
    for (uint64_t i = 0; i < 512; i++) {
        if (!(ptes[i] & PTE_V))
            continue;
        uint64_t here = va | i << (12 + 9 * level);
        if (ptes[i] & (PTE_R | PTE_W | PTE_X))
            *out++ = (struct mapping){here, PTE2PA(ptes[i]), ptes[i] & 0x3ff};
        else
            out = list(m, PTE2PA(ptes[i]), here, level - 1, out);
    }
    return out;
}

int64_t time_kinit(struct machine *m) {
    int64_t start = now();
    for (uint64_t pa = PGROUNDUP(m->end); pa + PGSIZE <= m->physstop; pa += PGSIZE)
        kfree(m, pa);
    return now() - start;
}

int64_t time_kvmmake(struct machine *m, const struct layout *l, uint64_t *root) {
    int64_t start = now();
    *root = kvmmake(m, l);
    return now() - start;
}

int64_t time_map(struct machine *m, uint64_t root, uint64_t va, uint64_t size, uint64_t pa, uint64_t perm) {
    int64_t start = now();
    kvmmap(m, root, va, pa, size, perm);
    return now() - start;
}

uint64_t make_root(struct machine *m) { return new_table(m); }

// All mappings below root, in an array for `most` of them that this allocates and release() frees.
int64_t time_list(const struct machine *m, uint64_t root, uint64_t most, struct mapping **found, uint64_t *count) {
    int64_t start = now();
    *found = malloc(most * sizeof(struct mapping));
    if (!*found)
        abort();
    *count = list(m, root, 0, 2, *found) - *found;
    return now() - start;
}

void release(struct mapping *found) { free(found); }

// The sum of the addresses of the last-level PTEs, so that no walk can be left out.
int64_t time_walks(struct machine *m, uint64_t root, const uint64_t *vas, uint64_t count, uint64_t *sum) {
    int64_t start = now();
    uint64_t total = 0;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t *pte = walk(m, root, vas[i], 0);
        total += pte ? m->base + ((const uint8_t *)pte - m->ram) : 0;
    }
    *sum = total;
    return now() - start;
}
