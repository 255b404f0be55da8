/*
 * The only program of the Linux guest: it maps pages of every kind, prints what the kernel itself says of them, and waits.
 *
 * Lines that start with a word of ours are for the program that started the guest:
 *   page WHO VA ENTRY [COUNT]  what /proc/self/pagemap holds for VA (COUNT pages in a row when nothing is there)
 *   range WHO NAME VA SIZE     what was mapped where
 *   task PID TGID NAME         a process or thread that has memory of its own
 *   pgtable PFN COUNT          frames that /proc/kpageflags calls page tables
 *   symbol VA NAME             a line of /proc/kallsyms
 *   missing WHAT               what this kernel would not do
 *   spin WHO                   everything is printed; WHO now keeps the only hart busy until a byte arrives
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define HUGE_2M (21 << MAP_HUGE_SHIFT)
#define HUGE_64K (16 << MAP_HUGE_SHIFT)
#define MOST_PAGES 16384
#define MOST_RANGES 256
#define SAMPLE 500

struct range {
	const char *name;
	uintptr_t start;
	size_t size;
	int writable;
};

static struct range ranges[MOST_RANGES];
static int range_count;
static uint64_t first_look[MOST_PAGES], second_look[MOST_PAGES];
static char out[1 << 20];
static size_t out_used;
static char names[MOST_RANGES][32];
static uint64_t flags[512];

static void flush(void)
{
	for (size_t done = 0; done < out_used;) {
		ssize_t n = write(1, out + done, out_used - done);
		if (n <= 0)
			_exit(1);
		done += n;
	}
	out_used = 0;
}

#define say(...)                                                                            \
	do {                                                                                \
		if (out_used > sizeof out - 4096)                                           \
			flush();                                                            \
		out_used += snprintf(out + out_used, sizeof out - out_used, __VA_ARGS__);   \
	} while (0)

static void *note(const char *name, void *start, size_t size)
{
	if (start == MAP_FAILED) {
		say("missing %s: %s\n", name, strerror(errno));
		return NULL;
	}
	if (range_count < MOST_RANGES)
		ranges[range_count++] = (struct range){name, (uintptr_t)start, size, 0};
	return start;
}

static void *map(const char *name, size_t size, int prot, int how, int fd)
{
	return note(name, mmap(NULL, size, prot, how, fd, 0), size);
}

static void touch(void *start, size_t size, size_t step)
{
	for (size_t at = 0; start && at < size; at += step)
		((volatile char *)start)[at] = (char)(at / PAGE + 1);
}

static void look_only(void *start, size_t size, size_t step)
{
	for (size_t at = 0; start && at < size; at += step)
		(void)((volatile char *)start)[at];
}

static void file_pages(void)
{
	static const char path[] = "/file";
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	void *at;

	if (fd < 0 || ftruncate(fd, 16 * PAGE)) {
		say("missing a file: %s\n", strerror(errno));
		return;
	}
	at = map("file, shared", 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	touch(at, 8 * PAGE, PAGE);
	at = map("file, private", 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	look_only(at, 8 * PAGE, PAGE);
	touch(at, 2 * PAGE, PAGE);
	at = map("file, read only", 8 * PAGE, PROT_READ, MAP_SHARED, fd);
	look_only(at, 8 * PAGE, 2 * PAGE);
}

static void device_pages(void)
{
	/* The second half of the flash: no driver of this kernel owns it. */
	const off_t flash = 0x22000000;
	int fd;

	mknod("/dev/mem", S_IFCHR | 0600, 1 << 8 | 1);
	fd = open("/dev/mem", O_RDWR | O_SYNC);
	if (fd < 0)
		say("missing /dev/mem: %s\n", strerror(errno));
	else
		note("device 22000000", mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, flash), PAGE);
}

/* Linux leaves them off in a machine with less than 512 MiB. */
static void allow_transparent_huge_pages(void)
{
	int fd;

	mkdir("/sys", 0755);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_WRONLY);
	if (fd < 0 || write(fd, "madvise", 7) != 7)
		say("missing transparent huge pages: %s\n", strerror(errno));
	close(fd);
}

static void make_pages(void)
{
	const int rw = PROT_READ | PROT_WRITE, anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
	struct timespec now;
	char *at;

	at = map("anonymous", 64 * PAGE, rw, anonymous, -1);
	touch(at, 48 * PAGE, PAGE);
	at = map("every other page", 64 * PAGE, rw, anonymous, -1);
	touch(at, 64 * PAGE, 2 * PAGE);
	at = map("never touched", 32 * PAGE, rw, anonymous, -1);
	at = map("the zero page", 16 * PAGE, rw, anonymous, -1);
	look_only(at, 16 * PAGE, PAGE);
	at = map("shared", 32 * PAGE, rw, MAP_SHARED | MAP_ANONYMOUS, -1);
	touch(at, 24 * PAGE, PAGE);
	at = map("locked", 16 * PAGE, rw, anonymous, -1);
	if (at && mlock(at, 16 * PAGE))
		say("missing mlock: %s\n", strerror(errno));
	at = map("PROT_NONE", 16 * PAGE, rw, anonymous, -1);
	touch(at, 8 * PAGE, PAGE);
	if (at)
		mprotect(at, 16 * PAGE, PROT_NONE);
	at = map("read only", 16 * PAGE, rw, anonymous, -1);
	touch(at, 16 * PAGE, PAGE);
	if (at)
		mprotect(at, 16 * PAGE, PROT_READ);
	at = map("executable", 16 * PAGE, rw, anonymous, -1);
	touch(at, 16 * PAGE, PAGE);
	if (at)
		mprotect(at, 16 * PAGE, PROT_READ | PROT_EXEC);
	at = map("2 MiB pages", 4UL << 20, rw, anonymous | MAP_HUGETLB | HUGE_2M, -1);
	touch(at, 4UL << 20, 2UL << 20);
	at = map("64 KiB pages", 8UL << 16, rw, anonymous | MAP_HUGETLB | HUGE_64K, -1);
	touch(at, 4UL << 16, 1UL << 16);
	at = map("64 KiB pages, shared", 4UL << 16, rw, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | HUGE_64K, -1);
	touch(at, 4UL << 16, 1UL << 16);
	at = map("a transparent huge page", 6UL << 20, rw, anonymous, -1);
	if (at && !madvise(at, 6UL << 20, MADV_HUGEPAGE))
		touch((char *)(((uintptr_t)at + (2UL << 20) - 1) & -(2UL << 20)), 2UL << 20, PAGE);
	else
		say("missing MADV_HUGEPAGE: %s\n", strerror(errno));
	file_pages();
	device_pages();
	clock_gettime(CLOCK_MONOTONIC, &now); /* touches the vdso and its data */
	at = map("a hole in it", 16 * PAGE, rw, anonymous, -1);
	touch(at, 16 * PAGE, PAGE);
	if (at)
		munmap(at + 4 * PAGE, 4 * PAGE);
}

/* What the kernel mapped by itself: program, heap, stack, vdso. */
static void own_ranges(void)
{
	char *line = NULL;
	size_t room = 0;
	FILE *maps = fopen("/proc/self/maps", "r");
	int known = range_count;

	while (maps && getline(&line, &room, maps) > 0) {
		unsigned long start, end;
		int seen = 0;
		char name[32] = "the rest", rights[8];

		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %31s", &start, &end, rights, name) < 3)
			continue;
		for (int i = 0; i < known; i++)
			seen |= ranges[i].start < end && start < ranges[i].start + ranges[i].size;
		if (!seen && range_count < MOST_RANGES) {
			strcpy(names[range_count], name);
			note(names[range_count], (void *)start, end - start);
			ranges[range_count - 1].writable = rights[1] == 'w';
		}
	}
	if (maps)
		fclose(maps);
	free(line);
}

/* Use every page of the program and its stack, so that what runs after the look changes nothing. */
static void own_program(void)
{
	for (int i = 0; i < range_count; i++) {
		volatile char *at = (volatile char *)ranges[i].start;

		if (strcmp(ranges[i].name, "/init") && strcmp(ranges[i].name, "[stack]"))
			continue;
		for (size_t page = 0; page < ranges[i].size; page += PAGE) {
			char byte = at[page];

			if (ranges[i].writable)
				at[page] = byte;
		}
	}
}

static size_t look(uint64_t *into)
{
	size_t count = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	for (int i = 0; i < range_count; i++) {
		size_t pages = ranges[i].size / PAGE;

		if (count + pages > MOST_PAGES) {
			say("missing pages: there is room for %d\n", MOST_PAGES);
			break;
		}
		if (pread(fd, into + count, pages * 8, ranges[i].start / PAGE * 8) != (ssize_t)pages * 8)
			say("missing pagemap of %s\n", ranges[i].name);
		count += pages;
	}
	close(fd);
	return count;
}

/* Print the page map of this process; only once two looks agree, as the looking itself touches pages. */
static void say_pages(const char *who)
{
	size_t count, at = 0;
	int tries = 0;

	memset(first_look, 1, sizeof first_look);
	memset(second_look, 2, sizeof second_look);
	memset(flags, 0, sizeof flags);
	for (size_t page = 0; page < sizeof out; page += PAGE)
		((volatile char *)out)[page] = out[page]; /* after a fork each is copied when it is written, so do it now */
	own_program();
	do {
		look(first_look);
		count = look(second_look);
	} while (memcmp(first_look, second_look, count * 8) && ++tries < 10);
	if (tries == 10)
		say("missing a quiet moment of %s\n", who);
	for (int i = 0; i < range_count; i++) {
		size_t pages = ranges[i].size / PAGE;

		say("range %s %lx %lx %s\n", who, (long)ranges[i].start, (long)ranges[i].size, ranges[i].name);
		for (size_t page = 0; page < pages;) {
			uint64_t entry = second_look[at + page];
			size_t run = 1;

			while (!entry && page + run < pages && !second_look[at + page + run])
				run++;
			say("page %s %lx %lx %ld\n", who, (long)(ranges[i].start + page * PAGE), (long)entry, (long)run);
			page += run;
		}
		at += pages;
	}
}

static void say_tasks(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	while (proc && (entry = readdir(proc))) {
		char path[300], line[128], name[64] = "";
		long tgid = 0, size = -1;
		FILE *status;

		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof path, "/proc/%s/status", entry->d_name);
		status = fopen(path, "r");
		while (status && fgets(line, sizeof line, status)) {
			sscanf(line, "Name: %63[^\n]", name);
			sscanf(line, "Tgid: %ld", &tgid);
			sscanf(line, "VmSize: %ld", &size);
		}
		if (status)
			fclose(status);
		say("task %s %ld %d %s\n", entry->d_name, tgid, size >= 0, name);
	}
	if (proc)
		closedir(proc);
}

static void say_page_tables(void)
{
	const int pgtable = 26;
	int fd = open("/proc/kpageflags", O_RDONLY);
	unsigned long pfn = 0, start = 0, run = 0;
	ssize_t got;

	if (fd < 0)
		say("missing kpageflags: %s\n", strerror(errno));
	while (fd >= 0 && (got = pread(fd, flags, sizeof flags, pfn * 8)) > 0) {
		for (ssize_t i = 0; i < got / 8; i++, pfn++) {
			/* Above the end of the flash all is RAM or nothing; no frame of the latter has flags. */
			int is = flags[i] >> pgtable & 1 && !(flags[i] >> 20 & 1);

			if (is && !run++)
				start = pfn;
			if (!is && run) {
				say("pgtable %lx %lx\n", start, run);
				run = 0;
			}
		}
	}
	close(fd);
}

static void say_symbols(void)
{
	char *line = NULL, name[600];
	size_t room = 0;
	unsigned long number = 0, va;
	FILE *symbols = fopen("/proc/kallsyms", "r");

	if (!symbols)
		say("missing kallsyms: %s\n", strerror(errno));
	while (symbols && getline(&line, &room, symbols) > 0) {
		if (sscanf(line, "%lx %*c %599s", &va, name) != 2 || strchr(line, '['))
			continue;
		if (number++ % SAMPLE == 0 || !strcmp(name, "swapper_pg_dir") || !strcmp(name, "init_task"))
			say("symbol %lx %s\n", va, name);
	}
	say("symbols %ld\n", number);
	if (symbols)
		fclose(symbols);
	free(line);
}

/* Keep the hart busy in this address space until the other side of the console sends a byte. */
static void spin(const char *who)
{
	char byte;

	say("spin %s\n", who);
	flush();
	fcntl(0, F_SETFL, O_NONBLOCK);
	while (read(0, &byte, 1) != 1)
		for (volatile long i = 0; i < 3000000; i++)
			;
}

static void *sleeper(void *arg)
{
	pause();
	return arg;
}

int main(void)
{
	int to_child[2], to_parent[2];
	pthread_t thread;
	char byte = 0;
	pid_t child;

	mount("proc", "/proc", "proc", 0, NULL);
	allow_transparent_huge_pages();
	memset(out, 0, sizeof out);
	if (pthread_create(&thread, NULL, sleeper, NULL))
		say("missing threads\n");
	make_pages();
	own_ranges();
	if (pipe(to_child) || pipe(to_parent))
		return 1;
	flush();
	child = fork();
	if (child < 0)
		return 1;
	if (!child) {
		prctl(PR_SET_NAME, "child");
		for (int i = 0; i < range_count; i++)
			if (!strcmp(ranges[i].name, "anonymous") || !strcmp(ranges[i].name, "every other page"))
				touch((void *)ranges[i].start, 8 * PAGE, PAGE);
		say_pages("child");
		flush();
		if (write(to_parent[1], &byte, 1) != 1 || read(to_child[0], &byte, 1) != 1)
			return 1;
		spin("child");
		return 0;
	}
	if (read(to_parent[0], &byte, 1) != 1)
		return 1;
	say_symbols();
	say_tasks();
	say_pages("init");
	say_page_tables(); /* the last, as what is written above may need another page table */
	spin("init");
	if (write(to_child[1], &byte, 1) != 1)
		return 1;
	waitpid(child, NULL, 0);
	say("done\n");
	flush();
	reboot(RB_POWER_OFF);
	return 1;
}
