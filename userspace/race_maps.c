// SPDX-License-Identifier: GPL-2.0
/*
 * Changes how memory is mapped and where it lies, in every way that pinning has to
 * get along with.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gup_test.h"
#include "race.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define MPOL_MF_MOVE 2
#define MPOL_MF_MOVE_ALL 4

/* Where a part is moved to for a while; only one racer does that. */
#define AWAY ((unsigned char *)(128 * GiB))

static const char *open_for(struct racer *racer, const char *path, int flags, const char *why)
{
	racer->fd = open(path, flags | O_CLOEXEC);
	return racer->fd < 0 ? why : NULL;
}

static void unmaps(struct racer *racer)
{
	struct plot *plot = pick_plot(&racer->rng, false);
	size_t len;
	/* A whole plot now and then, or it would end as a field of small mappings. */
	unsigned char *p = pick_part(&racer->rng, plot, chance(&racer->rng, 4) ? plot->len : 256 * KiB, &len);

	if (chance(&racer->rng, 16)) {
		p = plot->addr;
		len = plot->len;
	}
	if (munmap(p, len))
		failed(racer, "munmap");
	else if (!plot_map(plot, p, len))
		failed(racer, "mmap");
}

static void touches(struct racer *racer)
{
	struct plot *plot = pick_plot(&racer->rng, false);
	size_t len;
	unsigned char *p = pick_part(&racer->rng, plot, 512 * KiB, &len);

	if (madvise(p, len, MADV_POPULATE_WRITE))
		failed(racer, "MADV_POPULATE_WRITE");
}

static void discards(struct racer *racer)
{
	static const int advice[] = { MADV_DONTNEED, MADV_DONTNEED, MADV_COLD, MADV_PAGEOUT, MADV_FREE, MADV_REMOVE };
	struct plot *plot;
	unsigned char *p;
	size_t len;
	int a;

	/* A hugetlb page can only be thrown away. */
	do
		plot = pick_plot(&racer->rng, true);
	while (plot->witness && plot->kind == PLOT_HUGETLB);
	p = pick_part(&racer->rng, plot, 256 * KiB, &len);
	a = advice[plot->witness ? rng_between(&racer->rng, 2, 3) : rng_between(&racer->rng, 0, 5)];
	if (plot->kind == PLOT_HUGETLB || a == (plot->kind == PLOT_SHMEM ? MADV_FREE : MADV_REMOVE))
		a = MADV_DONTNEED;
	if (madvise(p, len, a))
		failed(racer, "madvise");
}

static void moves(struct racer *racer)
{
	struct plot *plot = pick_plot(&racer->rng, true);
	unsigned char *p, *away = AWAY, *back;
	size_t len;

	/* Where a hugepage can't lie, so that its page table entry has to be split. */
	if (plot->kind != PLOT_HUGETLB && rng_next(&racer->rng) & 1)
		away += rng_between(&racer->rng, 1, 511) * PAGE_4K;
	p = back = pick_part(&racer->rng, plot, chance(&racer->rng, 8) ? PAGE_2M : 128 * KiB, &len);
	/* Off by pages: folios that are mapped in part, and by PTEs. */
	if (!plot->witness && rng_next(&racer->rng) & 1)
		back = plot->addr + rng_between(&racer->rng, 0, (plot->len - len) / plot->grain) * plot->grain;
	pthread_mutex_lock(&plot->layout);
	if (mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, away) == MAP_FAILED) {
		failed(racer, "mremap");
		if (plot->witness)
			fault("a witness couldn't be moved");
	} else if (mremap(away, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, back) == MAP_FAILED) {
		failed(racer, "mremap");
		if (plot->witness)
			fault("a witness couldn't be moved back");
	}
	/* Of several mappings, the first ones may have been moved. */
	munmap(AWAY, 2 * PAGE_2M);
	pthread_mutex_unlock(&plot->layout);
}

static void protects(struct racer *racer)
{
	struct plot *plot = pick_plot(&racer->rng, true);
	size_t len;
	unsigned char *p = pick_part(&racer->rng, plot, 32 * KiB, &len);

	pthread_mutex_lock(&plot->layout);
	if (mprotect(p, len, rng_next(&racer->rng) & 1 ? PROT_NONE : PROT_READ) |
	    mprotect(p, len, PROT_READ | PROT_WRITE)) {
		failed(racer, "mprotect");
		if (plot->witness)
			fault("a witness's protection couldn't be changed");
	}
	pthread_mutex_unlock(&plot->layout);
}

/* A copy of the private memory, that the child writes to. */
static void write_copies(struct rng *rng, int zero)
{
	for (int i = rng_between(rng, 0, 24); i; i--) {
		struct plot *plot = pick_plot(rng, true);
		size_t len;
		unsigned char *p = pick_part(rng, plot, PAGE_4K, &len);

		/* The kernel writes: EFAULT where there is a hole. */
		if (plot->kind != PLOT_SHMEM && read(zero, p, 64) < 0 && errno != EFAULT)
			_exit(1);
	}
}

static void reap(struct racer *racer, pid_t pid, bool killed)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		fault("waitpid: %m");
	else if (status && !(killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		fault("%s: a child ended with status %#x", racer->name, status);
}

static const char *fork_start(struct racer *racer)
{
	return open_for(racer, "/dev/zero", O_RDONLY, "no /dev/zero");
}

static void forks(struct racer *racer)
{
	struct rng rng = { rng_next(&racer->rng) };
	pid_t pid = fork();

	if (!pid) {
		write_copies(&rng, racer->fd);
		_exit(0);
	}
	if (pid < 0)
		failed(racer, "fork");
	else
		reap(racer, pid, false);
}

/* Pins and registers, and gives nothing back. */
static void leave_pinned(struct rng *rng)
{
	int fd = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);
	struct pin_longterm_test test = { .flags = rng_next(rng) & 7 };
	size_t len;

	if (fd < 0)
		_exit(1);
	test.addr = (uintptr_t)pick_span(rng, MiB, PAGE_4K, &len);
	test.size = len;
	ioctl(fd, PIN_LONGTERM_TEST_START, &test);
	if (rng_next(rng) & 1) {
		/* The parent's context is its own: what it registers is not ours to leave. */
		struct ibv_context *ctx = ibv_open_device(race_device);
		struct ibv_pd *pd = ctx ? ibv_alloc_pd(ctx) : NULL;

		if (!pd)
			_exit(2);
		for (int i = rng_between(rng, 1, 4); i; i--) {
			unsigned char *p = pick_span(rng, 256 * KiB, 1, &len);

			ibv_reg_mr(pd, p, len, IBV_ACCESS_LOCAL_WRITE);
		}
	}
	_exit(0);
}

static void exits(struct racer *racer)
{
	struct rng rng = { rng_next(&racer->rng) };
	bool killed = rng_next(&racer->rng) & 1;
	pid_t pid = fork();

	if (!pid)
		leave_pinned(&rng);
	if (pid < 0) {
		failed(racer, "fork");
		return;
	}
	if (killed) {
		usleep(rng_between(&racer->rng, 0, 50000));
		kill(pid, SIGKILL);
	}
	reap(racer, pid, killed);
}

static const char *split_start(struct racer *racer)
{
	return open_for(racer, "/sys/kernel/debug/split_huge_pages", O_WRONLY,
			"no split_huge_pages in debugfs");
}

static void splits(struct racer *racer)
{
	static const int order[] = { 0, 0, 2, 4 };
	struct plot *plot = pick_plot(&racer->rng, true);
	char line[80];
	size_t len;
	unsigned char *p = pick_part(&racer->rng, plot, PAGE_2M, &len);

	len = snprintf(line, sizeof(line), "%d,0x%lx,0x%lx,%d", getpid(), (unsigned long)p,
		       (unsigned long)(p + len), order[rng_between(&racer->rng, 0, 3)]);
	if (write(racer->fd, line, len) < 0)
		failed(racer, "split_huge_pages");
}

static void collapses(struct racer *racer)
{
	struct plot *plot;
	unsigned char *p;

	do
		plot = pick_plot(&racer->rng, true);
	while (plot->kind != PLOT_THP && plot->kind != PLOT_SHMEM);
	p = plot->addr + rng_between(&racer->rng, 0, plot->len / PAGE_2M - 1) * PAGE_2M;
	if (madvise(p, PAGE_2M, MADV_COLLAPSE))
		failed(racer, "MADV_COLLAPSE");
}

static const char *migrate_start(struct racer *racer)
{
	(void)racer;
	return access("/sys/devices/system/node/node1", F_OK) ? "only one node (boot with numa=fake=2)" : NULL;
}

static void migrates(struct racer *racer)
{
	struct plot *plot = pick_plot(&racer->rng, true);
	int node[32], status[32], to = rng_next(&racer->rng) & 1, moved = 0;
	int flags = rng_next(&racer->rng) & 1 ? MPOL_MF_MOVE : MPOL_MF_MOVE_ALL;
	unsigned long n, i;
	void *page[32];
	size_t len;
	unsigned char *p = pick_part(&racer->rng, plot, 32 * PAGE_4K, &len);

	n = len / plot->grain;
	for (i = 0; i < n; i++) {
		page[i] = p + i * plot->grain;
		node[i] = to;
		status[i] = -ENOENT;
	}
	if (syscall(SYS_move_pages, 0, n, page, node, status, flags) < 0) {
		failed(racer, "move_pages");
		return;
	}
	for (i = 0; i < n; i++)
		moved += status[i] == to;
	racer->vain += !moved;
}

static const char *compact_start(struct racer *racer)
{
	return open_for(racer, "/proc/sys/vm/compact_memory", O_WRONLY, "no compact_memory");
}

static void compacts(struct racer *racer)
{
	if (pwrite(racer->fd, "1", 1, 0) != 1)
		failed(racer, "compact_memory");
}

struct racer map_racers[] = {
	{
		.name = "munmap", .once = unmaps, .rest = 6,
		.excuses = { { ENOMEM, "moved away between mmap and madvise, or no hugepage is left" } },
	},
	{
		.name = "touch", .once = touches, .rest = 5,
		.excuses = {
			{ ENOMEM, "a hole" },
			{ EINVAL, "not writable just now" },
			{ EFAULT, "no hugepage is left" },
		},
	},
	{
		.name = "discard", .once = discards, .rest = 8,
		.excuses = { { ENOMEM, "a hole" } },
	},
	{
		.name = "mremap", .once = moves, .rest = 8,
		.excuses = { { EFAULT, "a hole" } },
	},
	{
		.name = "mprotect", .once = protects, .rest = 8,
		.excuses = { { ENOMEM, "a hole" } },
	},
	{
		.name = "fork", .start = fork_start, .once = forks, .rest = 4,
		.excuses = { { ENOMEM, "no hugepage is left for the copy of a pinned one" } },
	},
	{
		.name = "exit", .once = exits, .rest = 4,
		.excuses = { { ENOMEM, "no hugepage is left for the copy of a pinned one" } },
	},
	{ .name = "split", .start = split_start, .once = splits, .rest = 8 },
	{
		.name = "collapse", .once = collapses, .rest = 8,
		.excuses = {
			{ EINVAL, "a hole, or not to be collapsed" },
			{ EAGAIN, "pinned, locked or isolated" },
			{ ENOMEM, "a hole" },
		},
	},
	{
		.name = "migrate", .start = migrate_start, .once = migrates, .rest = 8,
		.excuses = { { ENOENT, "nothing there to move" } },
	},
	{ .name = "compact", .start = compact_start, .once = compacts, .rest = 100 },
};
const size_t map_racers_nr = ARRAY_SIZE(map_racers);
