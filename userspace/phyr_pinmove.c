// SPDX-License-Identifier: GPL-2.0
/*
 * Pins pages long-term under the mmap_lock that move_pages() moves at the same time,
 * while somebody else wants that lock for writing. Each of the three has to get on.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"
#include "gup_test.h"

#define FOLL_WRITE 1
#define MPOL_MF_MOVE_ALL 4
#define PAGES 64
#define LEN (PAGES * PAGE_4K)
/* A debug kernel on a busy host takes a second for a call now and then. */
#define STUCK_SECONDS 20

static unsigned char *area;
static int gup_test;

static void pins(void)
{
	struct gup_test test = {
		.addr = (uintptr_t)area, .size = LEN, .nr_pages_per_call = PAGES,
		.gup_flags = FOLL_WRITE,
	};

	/* Pages of the movable zone, once more: a long-term pin takes them out of it. */
	if (madvise(area, LEN, MADV_DONTNEED) || madvise(area, LEN, MADV_POPULATE_WRITE))
		die("madvise: %m");
	if (ioctl(gup_test, PIN_LONGTERM_BENCHMARK, &test))
		die("gup_test: %m");
}

/*
 * One entry, in their midst, is of no page: that is told at once, in memory that the
 * kernel has to fault in for it.
 */
static void moves(void)
{
	static int to;
	int node[PAGES], *status = mmap(NULL, PAGE_4K, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *page[PAGES];

	if (status == MAP_FAILED)
		die("mmap: %m");
	to = !to;
	for (int i = 0; i < PAGES; i++) {
		page[i] = i == PAGES / 2 ? NULL : area + i * PAGE_4K;
		node[i] = to;
	}
	if (syscall(SYS_move_pages, 0, (long)PAGES, page, node, status, MPOL_MF_MOVE_ALL) < 0)
		die("move_pages: %m");
	if (munmap(status, PAGE_4K))
		die("munmap: %m");
}

static void maps(void)
{
	void *p = mmap(NULL, PAGE_64K, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || munmap(p, PAGE_64K))
		die("mmap: %m");
}

static struct worker {
	const char *name;
	void (*once)(void);
	atomic_ulong done;
} workers[] = {
	{ .name = "pin long-term", .once = pins },
	{ .name = "move_pages()", .once = moves },
	{ .name = "mmap() and munmap()", .once = maps },
};

static void *run(void *arg)
{
	struct worker *worker = arg;

	for (;;) {
		worker->once();
		atomic_fetch_add(&worker->done, 1);
	}
	return NULL;
}

/* Whether all of them got on up to the end; one that hangs ends the wait. */
static bool watch(int seconds)
{
	unsigned long last[ARRAY_SIZE(workers)] = {};
	int still[ARRAY_SIZE(workers)] = {};

	for (int s = 0; s < seconds; s++) {
		sleep(1);
		for (size_t i = 0; i < ARRAY_SIZE(workers); i++) {
			unsigned long done = atomic_load(&workers[i].done);

			still[i] = done == last[i] ? still[i] + 1 : 0;
			last[i] = done;
			if (still[i] == STUCK_SECONDS)
				return false;
		}
	}
	return true;
}

int main(int argc, char **argv)
{
	int seconds = argc == 2 ? atoi(argv[1]) : 0;
	pthread_t thread;
	bool got_on;

	if (seconds <= STUCK_SECONDS)
		die("usage: phyr_pinmove SECONDS, more than %d", STUCK_SECONDS);
	gup_test = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);
	if (gup_test < 0)
		die("/sys/kernel/debug/gup_test: %m");
	if (access("/sys/devices/system/node/node1", F_OK))
		die("only one node: boot with numa=fake=2");
	/* Who waits for the mmap_lock can't be the one that watches. */
	if (mlockall(MCL_CURRENT))
		die("mlockall: %m");
	area = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		die("mmap: %m");
	for (size_t i = 0; i < ARRAY_SIZE(workers); i++)
		if (pthread_create(&thread, NULL, run, &workers[i]))
			die("pthread_create");

	got_on = watch(seconds);
	printf("%s in %d s:", got_on ? "all got on" : "stuck", seconds);
	for (size_t i = 0; i < ARRAY_SIZE(workers); i++)
		printf(" %s %lu times%s", workers[i].name, atomic_load(&workers[i].done),
		       i + 1 < ARRAY_SIZE(workers) ? "," : "\n");
	fflush(stdout);
	/* They can't be joined if they hang. */
	_exit(!got_on);
}
