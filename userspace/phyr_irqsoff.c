// SPDX-License-Identifier: GPL-2.0
/*
 * For how long pin_user_phyrs() has interrupts off at a time, and whether that
 * depends on how much it is asked for. The walk looks at up to 512 leaves of the
 * page table at a time, with interrupts off, in a function of its own that does
 * nothing else: the tracer shows each call of it, its own part included. For icount
 * guests.
 *
 * A request is repeated, and each of its calls counts with its shortest time: an
 * interrupt that was held back comes at the end of one, and isn't its own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph.h"
#include "gup.h"
#include "memory.h"

#define RUNS 5
#define LEAVES 512
#define TiB (1ULL << 40)
/* The same leaves may lie differently in tables and folios. */
#define SLACK 300

static const char window[] = "gup_fast_phyrs";

static const struct {
	const char *kind;
	size_t leaf;
	size_t len;
} requests[] = {
	{ "1G-again", PAGE_1G, TiB },
	{ "thp", PAGE_2M, 2 * GiB },
	{ "thp-split", PAGE_4K, 256 * MiB },
	{ "64K", PAGE_4K, 256 * MiB },
	{ "4K-run", PAGE_4K, 256 * MiB },
	{ "4K", PAGE_4K, 256 * MiB },
};

struct windows {
	uint64_t ranges;
	size_t nr;
	uint64_t *ns;
	uint64_t longest;
};

/* Keep the times of the calls that are windows; returns how many. */
static size_t take_windows(const struct graph_call *calls, size_t n, uint64_t *ns)
{
	size_t nr = 0;

	for (size_t i = 0; i < n; i++)
		if (!strcmp(calls[i].function, window))
			ns[nr++] = calls[i].ns;
	return nr;
}

static struct windows trace(int fd, const unsigned char *addr, size_t len)
{
	struct windows w = { 0 };

	for (unsigned int i = 0; i < RUNS; i++) {
		struct graph_call *calls;
		struct gup_cost cost;
		uint64_t *ns;
		size_t n;
		int err;

		graph_start();
		graph_drift(i, RUNS);
		err = gup_run(fd, GUP_PHYRS_LONGTERM, addr, len, &cost);
		n = graph_stop(&calls);
		if (err)
			die("gup_test: %s", errno_name(err));
		if (cost.bytes != len)
			die("gup_test pinned %llu of %zu bytes",
			    (unsigned long long)cost.bytes, len);
		ns = calloc(n + 1, sizeof(*ns));
		if (!ns)
			die("out of memory");
		n = take_windows(calls, n, ns);
		free(calls);
		if (w.ns && w.nr != n)
			die("%zu calls of %s() in one run and %zu in another", w.nr, window, n);
		for (size_t j = 0; w.ns && j < n; j++)
			if (w.ns[j] < ns[j])
				ns[j] = w.ns[j];
		free(w.ns);
		w.ns = ns;
		w.nr = n;
		w.ranges = cost.ranges;
	}
	for (size_t j = 0; j < w.nr; j++)
		if (w.ns[j] > w.longest)
			w.longest = w.ns[j];
	free(w.ns);
	w.ns = NULL;
	return w;
}

static void ask(int fd, const char *kind, size_t leaf, size_t len)
{
	size_t leaves = len / leaf;
	struct rng rng = { 1 };
	struct windows few, all;
	struct region r;
	const char *why = region_create(&r, kind, len, &rng);

	if (why)
		die("%s: %s", kind, why);
	/* The first time is not like the others: nothing is in any cache. */
	trace(fd, r.addr, LEAVES * leaf);
	few = trace(fd, r.addr, LEAVES * leaf);
	all = trace(fd, r.addr, len);
	region_destroy(&r);

	printf("# figure: irqs-off: kind=%s leaves=%zu ranges=%llu windows=%zu longest=%llu longest_of_%u_leaves=%llu instructions\n",
	       kind, leaves, (unsigned long long)all.ranges, all.nr,
	       (unsigned long long)all.longest, LEAVES, (unsigned long long)few.longest);
	ktap_result(all.nr >= leaves / LEAVES, "%s: %zu leaves in at least %zu windows: %zu",
		    kind, leaves, leaves / LEAVES, all.nr);
	ktap_result(few.longest && all.longest <= few.longest * 105 / 100 + SLACK,
		    "%s: interrupts are off no longer for %zu leaves than for %u: %llu, %llu",
		    kind, leaves, LEAVES, (unsigned long long)all.longest,
		    (unsigned long long)few.longest);
}

int main(void)
{
	const char *const traced[] = { window, NULL };
	int fd = gup_open();

	ktap_start();
	graph_open(traced);
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
		ask(fd, requests[i].kind, requests[i].leaf, requests[i].len);
	graph_close();
	return ktap_finish();
}
