// SPDX-License-Identifier: GPL-2.0
/*
 * Takes pages out of use: softly, which moves what is in them, or by a simulated
 * memory error, which loses it. They are brought back, or a long run would use up
 * the memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "race.h"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#define KPF_HWPOISON (1ULL << 19)

static int pagemap = -1;
static _Thread_local volatile sig_atomic_t expecting;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	static const char message[] = "phyr_race: SIGBUS that nobody asked for\n";

	(void)sig;
	(void)context;
	if (expecting && info->si_code == BUS_MCEERR_AR)
		return;
	if (write(STDERR_FILENO, message, sizeof(message) - 1) < 0)
		_exit(3);
	_exit(2);
}

static uint64_t pfn_of(const void *addr)
{
	uint64_t entry;

	if (pread(pagemap, &entry, sizeof(entry), (uintptr_t)addr / PAGE_4K * sizeof(entry)) != sizeof(entry))
		return 0;
	return entry >> 63 ? entry & ((1ULL << 55) - 1) : 0;
}

/* Fails while somebody still holds the page. */
static bool unpoison(int fd, uint64_t pfn)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "%#llx", (unsigned long long)pfn);

	return write(fd, line, n) == n;
}

static const char *poison_start(struct racer *racer)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	racer->fd = open("/sys/kernel/debug/hwpoison/unpoison-pfn", O_WRONLY | O_CLOEXEC);
	if (racer->fd < 0)
		return "no hwpoison/unpoison-pfn in debugfs";
	if (pagemap < 0)
		pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		die("/proc/self/pagemap: %m");
	if (sigaction(SIGBUS, &action, NULL))
		die("sigaction: %m");
	return NULL;
}

static void offlines(struct racer *racer)
{
	struct plot *plot;
	unsigned char *p;
	uint64_t pfn;

	/* A hugetlb page would leave its pool, not to come back. */
	do
		plot = pick_plot(&racer->rng, true);
	while (plot->kind == PLOT_HUGETLB);
	p = plot->addr + rng_between(&racer->rng, 0, plot->len / PAGE_4K - 1) * PAGE_4K;
	pfn = pfn_of(p);
	if (!pfn) {
		racer->vain++;
		return;
	}
	if (madvise(p, PAGE_4K, MADV_SOFT_OFFLINE))
		failed(racer, "MADV_SOFT_OFFLINE");
	else
		unpoison(racer->fd, pfn);
}

static void poisons(struct racer *racer)
{
	unsigned char *p = poisoned + rng_between(&racer->rng, 0, POISONED_LEN / PAGE_4K - 1) * PAGE_4K;
	uint64_t pfn;

	/* A page of its own: it could be the zero page, or shared with a child. */
	if (madvise(poisoned, POISONED_LEN, MADV_POPULATE_WRITE))
		fault("MADV_POPULATE_WRITE: %s", errno_name(errno));
	pfn = pfn_of(p);
	expecting = 1;
	if (madvise(p, PAGE_4K, MADV_HWPOISON))
		failed(racer, "MADV_HWPOISON");
	expecting = 0;
	/* Nobody can touch what is there now; the next one gets another page. */
	if (madvise(p, PAGE_4K, MADV_DONTNEED))
		fault("MADV_DONTNEED of a poisoned page: %s", errno_name(errno));
	if (pfn)
		unpoison(racer->fd, pfn);
}

/* Every page that is marked, whoever has marked it. */
unsigned long unpoison_all(void)
{
	static uint64_t flags[8192];
	int fd = open("/sys/kernel/debug/hwpoison/unpoison-pfn", O_WRONLY | O_CLOEXEC);
	int pages = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	unsigned long left = 0;
	uint64_t pfn = 0;
	ssize_t got;

	if (fd < 0 || pages < 0)
		die("can't bring poisoned pages back: %m");
	while ((got = pread(pages, flags, sizeof(flags), pfn * sizeof(*flags))) > 0) {
		for (size_t i = 0; i < got / sizeof(*flags); i++, pfn++)
			if (flags[i] & KPF_HWPOISON && !unpoison(fd, pfn))
				left++;
	}
	close(pages);
	close(fd);
	return left;
}

struct racer poison_racers[] = {
	{
		.name = "offline", .start = poison_start, .once = offlines, .rest = 8,
		.excuses = {
			{ EBUSY, "pinned, or held for a moment" },
			{ EIO, "isolated or freed at that moment" },
			{ EFAULT, "a hole" },
			{ ENOMEM, "a hole" },
			{ ENOTRECOVERABLE, "the zero page" },
		},
	},
	{
		.name = "poison", .start = poison_start, .once = poisons, .rest = 20,
		.excuses = { { EBUSY, "pinned: marked and unmapped, but still held" } },
	},
};
const size_t poison_racers_nr = ARRAY_SIZE(poison_racers);
