// A kernel that does nothing but page tables: it builds three address spaces in the mode it is told, right or wrong in
// one chosen way, says on the UART what it built, turns the MMU on, and counts for ever.
//
// What it says, a line each, numbers in hexadecimal:
//   image START ETEXT END     the kernel's own bytes, and where its code ends
//   device START END          where it knows of a device
//   root SPACE PA
//   map SPACE VA PA SIZE FLAGS    a leaf, with the low eight bits of its PTE
//   problem SPACE KIND VA PTE_PA PTE    a valid PTE that no walk can use
//   under SPACE VA SIZE       what is mapped here comes of a loop
//   wrong NAME                what is wrong this time
//   free HEAD START END       the free list, threaded through the first words of its frames
//   count PA                  where it counts
//   ready                     the MMU is on

typedef unsigned long u64;

enum { V = 1, R = 2, W = 4, X = 8, U = 16, G = 32, A = 64, D = 128 };
enum { PAGE = 4096, ENTRIES = 512 };
enum wrong {
  NOTHING, WRITE_ONLY, RESERVED_BITS, MISALIGNED, LAST_POINTER, LOOP, SHARED_TABLE, LEAF_OUTSIDE, TABLE_OUTSIDE,
  WRITE_EXECUTE, USER_IN_KERNEL, TEXT_WRITABLE, SHARED_WRITABLE, TABLE_FOR_USER, FREE_ROOT, WRONGS
};

static const char *const names[WRONGS] = {
  "nothing", "write-only", "reserved-bits", "misaligned", "last-pointer", "loop", "shared-table", "leaf-outside",
  "table-outside", "write-execute", "user-in-kernel", "text-writable", "shared-writable", "table-for-user", "free-root",
};

#define UART ((volatile unsigned char *)0x10000000)
#define CHOICE (*(volatile u64 *)0x83fff000)   // put there before the start: MODE, and the wrong thing shifted by 8
#define FRAMES_START 0x80400000UL
#define FRAMES_END 0x80480000UL
#define SUPERPAGE 0x80600000UL
#define DEVICES 0x40000000UL
#define NOWHERE 0x200000000UL

extern char text_start[], text_end[], data_start[], data_end[];

struct space { const char *name; u64 root; };

static u64 mode, free_head;
static int levels;
static enum wrong wrong;
static volatile u64 counter;

static void say(const char *text)
{
  for (; *text; text++) {
    while (!(UART[5] & 0x20))
      ;
    UART[0] = *text;
  }
}

static void say_number(u64 value)
{
  char text[20], *at = text + sizeof text;

  *--at = 0;
  do
    *--at = "0123456789abcdef"[value & 15];
  while (value >>= 4);
  say(" ");
  say(at);
}

static void stop(const char *why)
{
  say("stopped ");
  say(why);
  say("\n");
  for (;;)
    ;
}

static void release(u64 frame)
{
  *(u64 *)frame = free_head;
  free_head = frame;
}

static u64 take(void)
{
  u64 frame = free_head;

  if (!frame)
    stop("without a frame");
  free_head = *(u64 *)frame;
  for (int i = 0; i < ENTRIES; i++)
    ((u64 *)frame)[i] = 0;
  return frame;
}

static u64 size_at(int level) { return (u64)PAGE << 9 * level; }
static u64 entry_for(u64 pa, u64 flags) { return pa >> 12 << 10 | flags; }

// The entry for va on a level, with the tables above it made where they are missing.
static u64 *entry(struct space *space, u64 va, int level)
{
  u64 table = space->root;

  for (int above = levels - 1;; above--) {
    u64 *at = (u64 *)table + (va >> (12 + 9 * above) & (ENTRIES - 1));
    if (above == level)
      return at;
    if (!(*at & V))
      *at = entry_for(take(), V);
    else if (*at & (R | W | X))
      stop("at a superpage in the way");
    table = *at >> 10 << 12;
  }
}

static void say_map(struct space *space, u64 va, u64 pa, int level, u64 flags)
{
  say("map ");
  say(space->name);
  say_number(va);
  say_number(pa);
  say_number(size_at(level));
  say_number(flags);
  say("\n");
}

static void say_problem(struct space *space, const char *kind, u64 va, u64 *at)
{
  say("problem ");
  say(space->name);
  say(" ");
  say(kind);
  say_number(va);
  say_number((u64)at);
  say_number(*at);
  say("\n");
}

static u64 *map(struct space *space, u64 va, u64 pa, int level, u64 flags)
{
  u64 *at = entry(space, va, level);

  if (*at & V)
    stop("at a page mapped before");
  flags |= V | A | (flags & W ? D : 0);
  *at = entry_for(pa, flags);
  say_map(space, va, pa, level, flags);
  return at;
}

static void make(struct space *space, const char *name)
{
  space->name = name;
  space->root = take();
  say("root ");
  say(name);
  say_number(space->root);
  say("\n");
}

static u64 trampoline(void) { return (1UL << (11 + 9 * levels)) - PAGE; }

static void make_kernel(struct space *kernel)
{
  make(kernel, "kernel");
  map(kernel, (u64)UART, (u64)UART, 0, R | W | G);
  for (u64 pa = (u64)text_start; pa < (u64)text_end; pa += PAGE)
    map(kernel, pa, pa, 0, R | X | G);
  for (u64 pa = (u64)text_end; pa < (u64)data_start; pa += PAGE)
    map(kernel, pa, pa, 0, R | G);
  for (u64 pa = (u64)data_start; pa < (u64)data_end; pa += PAGE)
    map(kernel, pa, pa, 0, R | W | G);
  for (u64 pa = FRAMES_START; pa < FRAMES_END; pa += PAGE)
    map(kernel, pa, pa, 0, R | W | G);
  map(kernel, SUPERPAGE, SUPERPAGE, 1, R | W | G);
  map(kernel, 0x140000000UL, DEVICES, 2, R | W | G);
  for (int level = 3; level < levels; level++)
    map(kernel, size_at(level), 0, level, R | G);
  map(kernel, -0x80000000UL, (u64)text_end, 0, R | G);      // the upper half
  map(kernel, trampoline(), (u64)text_start, 0, R | X | G);
}

static void make_user(struct space *user, const char *name)
{
  make(user, name);
  map(user, 0x1000, take(), 0, R | X | U);
  map(user, 0x2000, take(), 0, R | W | U);
  map(user, 0x3000, take(), 0, R | U);
  for (u64 va = 0x200000; va < 0x206000; va += PAGE)
    map(user, va, take(), 0, R | U);
  map(user, trampoline(), (u64)text_start, 0, R | X);
}

// The last address of the first 2 MiB; nothing else is mapped near.
#define HERE 0x1ff000UL

static void do_wrong(struct space *kernel, struct space *first, struct space *second)
{
  struct space third;
  u64 *at;

  switch (wrong) {
  case WRITE_ONLY:
    map(first, HERE, take(), 0, W | U);
    break;
  case RESERVED_BITS:
    at = map(first, HERE, take(), 0, R | U);
    *at |= 1UL << 56;
    break;
  case MISALIGNED:
    at = map(kernel, SUPERPAGE + 0x200000, SUPERPAGE + 0x3000, 1, R | W | G);
    say_problem(kernel, "misaligned-superpage", SUPERPAGE + 0x200000, at);
    break;
  case LAST_POINTER:
    at = entry(first, HERE, 0);
    *at = entry_for(take(), V);
    say_problem(first, "pointer-on-the-last-level", HERE, at);
    break;
  case LOOP:
    *entry(first, 0x400000, 1) = entry_for(first->root, V);
    say("under ");
    say(first->name);
    say_number(0x400000);
    say_number(size_at(1));
    say("\n");
    break;
  case SHARED_TABLE:
    at = entry(first, 0x200000, 1);
    *entry(second, 0x400000, 1) = *at;
    for (u64 va = 0, table = *at >> 10 << 12; va < 0x200000; va += PAGE, table += 8)
      if (*(u64 *)table & V)
        say_map(second, 0x400000 + va, *(u64 *)table >> 10 << 12, 0, *(u64 *)table & 0xff);
    break;
  case LEAF_OUTSIDE:
    map(first, HERE, NOWHERE, 0, R | U);
    break;
  case TABLE_OUTSIDE:
    at = entry(first, 0x400000, 1);
    *at = entry_for(NOWHERE, V);
    say_problem(first, "table-outside-memory", 0x400000, at);
    break;
  case WRITE_EXECUTE:
    map(first, HERE, take(), 0, R | W | X | U);
    break;
  case USER_IN_KERNEL:
    map(kernel, -0x80000000UL + PAGE, take(), 0, R | U);
    break;
  case TEXT_WRITABLE:
    map(kernel, HERE, (u64)text_start, 0, R | W);
    break;
  case SHARED_WRITABLE:
    at = entry(second, 0x2000, 0);
    map(first, HERE, *at >> 10 << 12, 0, R | W | U);
    break;
  case TABLE_FOR_USER:
    at = entry(first, 0, 1);
    map(first, HERE, *at >> 10 << 12, 0, R | W | U);
    break;
  case FREE_ROOT:
    make(&third, "third");
    map(&third, trampoline(), (u64)text_start, 0, R | X);
    map(&third, -0x80000000UL, (u64)text_end, 0, R);
    release(third.root);    // whose first entry, now a link of the free list, was absent and is still
    break;
  default:
    break;
  }
}

void main(void)
{
  struct space kernel, first, second;
  u64 satp;

  mode = CHOICE & 0xff;
  wrong = CHOICE >> 8;
  levels = mode - 5;
  if (mode < 8 || mode > 10 || wrong >= WRONGS)
    stop("at a choice that it does not know");
  for (u64 frame = FRAMES_END; frame > FRAMES_START; frame -= PAGE)
    release(frame - PAGE);
  say("image");
  say_number((u64)text_start);
  say_number((u64)text_end);
  say_number((u64)data_end);
  say("\ndevice");
  say_number((u64)UART);
  say_number((u64)UART + PAGE);
  say("\ndevice");
  say_number(DEVICES);
  say_number(DEVICES + size_at(2));
  say("\n");
  make_kernel(&kernel);
  make_user(&first, "first");
  make_user(&second, "second");
  do_wrong(&kernel, &first, &second);
  say("wrong ");
  say(names[wrong]);
  say("\nfree");
  say_number(free_head);
  say_number(FRAMES_START);
  say_number(FRAMES_END);
  say("\ncount");
  say_number((u64)&counter);
  say("\n");
  satp = mode << 60 | kernel.root >> 12;
  asm volatile("sfence.vma\n csrw satp, %0\n sfence.vma" : : "r"(satp) : "memory");
  asm volatile("csrr %0, satp" : "=r"(satp));
  if (satp >> 60 != mode)
    stop("because the hart does not know the mode");
  say("ready\n");
  for (;;)
    counter++;
}
