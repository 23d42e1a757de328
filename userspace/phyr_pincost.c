// SPDX-License-Identifier: GPL-2.0
/*
 * What pinning alone costs, for each kind of memory, size and way to pin: one line
 * of JSON each. In an icount guest a nanosecond is an instruction.
 *
 * "pin" and "unpin" are the calls themselves, as function_graph sees them: on every
 * kernel to the nanosecond, less what it shows for a call that does nothing.
 * "gup_pin" and "gup_unpin" are what gup_test counts while nothing is traced, which
 * on a stock kernel is whole microseconds. Each is the median of several runs, and
 * in "least" the shortest: an interrupt only ever adds.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph.h"
#include "gup.h"
#include "memory.h"

#define MAX_RUNS 101

/* What needs memory in one piece goes first. */
static const struct {
	const char *kind;
	size_t sizes[4];
} cells[] = {
	{ "2M", { PAGE_4K, PAGE_2M, 64 * MiB, GiB } },
	{ "1G", { PAGE_4K, PAGE_2M, 64 * MiB, GiB } },
	{ "thp", { PAGE_4K, PAGE_2M, 64 * MiB, GiB } },
	{ "thp-split", { PAGE_4K, PAGE_2M, 64 * MiB, GiB } },
	{ "64K", { PAGE_4K, PAGE_2M, 64 * MiB, GiB } },
	{ "shmem", { PAGE_4K, PAGE_2M, 64 * MiB } },
	{ "4K-run", { PAGE_4K, PAGE_2M, 64 * MiB } },
	{ "4K", { PAGE_4K, PAGE_2M, 64 * MiB } },
};

/* NULL: put_page() is not a function that can be traced. */
static const char *const pins[GUP_ARMS] = {
	[GUP_GET] = "get_user_pages_fast",
	[GUP_PIN] = "pin_user_pages_fast",
	[GUP_PIN_LONGTERM] = "pin_user_pages_fast",
	[GUP_PHYRS] = "pin_user_phyrs",
	[GUP_PHYRS_LONGTERM] = "pin_user_phyrs",
};

static const char *const unpins[GUP_ARMS] = {
	[GUP_PIN] = "unpin_user_pages",
	[GUP_PIN_LONGTERM] = "unpin_user_pages",
	[GUP_PHYRS] = "unpin_user_phyrs",
	[GUP_PHYRS_LONGTERM] = "unpin_user_phyrs",
};

static const char *const traced[] = {
	"get_user_pages_fast", "pin_user_pages_fast", "unpin_user_pages",
	"pin_user_phyrs", "unpin_user_phyrs", NULL
};

struct samples {
	uint64_t ns[MAX_RUNS];
	bool none;
};

static unsigned int runs = 7;
static uint64_t tracer_ns;

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void print_samples(const char *name, struct samples *s)
{
	qsort(s->ns, runs, sizeof(*s->ns), by_value);
	if (s->none)
		printf(", \"%s\": null, \"%s_least\": null", name, name);
	else
		printf(", \"%s\": %llu, \"%s_least\": %llu", name,
		       (unsigned long long)s->ns[runs / 2], name,
		       (unsigned long long)s->ns[0]);
}

static struct gup_cost run(int fd, enum gup_arm arm, const struct region *r, size_t len)
{
	struct gup_cost cost;
	int err = gup_run(fd, arm, r->addr, len, &cost);

	if (err)
		die("%s: gup_test: %s", gup_arm_name(arm), errno_name(err));
	if (cost.bytes != len)
		die("%s: pinned %llu of %zu bytes", gup_arm_name(arm),
		    (unsigned long long)cost.bytes, len);
	return cost;
}

/* The page commands call a short pin a whole one; the kernel's counters don't. */
static void check_pinned(int fd, enum gup_arm arm, const struct region *r, size_t len)
{
	struct pin_counters before = pin_counters_read(), after;
	uint64_t taken;

	run(fd, arm, r, len);
	after = pin_counters_read();
	taken = after.acquired - before.acquired;
	if (arm != GUP_GET && !gup_arm_is_phyrs(arm) && taken != len / PAGE_4K)
		die("%s: %llu pins of %llu", gup_arm_name(arm),
		    (unsigned long long)taken, (unsigned long long)(len / PAGE_4K));
	if (pins_held_since(before))
		die("%s: pins left", gup_arm_name(arm));
}

static uint64_t sum_of(const char *function, const struct graph_call *calls, size_t n)
{
	uint64_t ns = 0;
	bool any = false;

	for (size_t i = 0; function && i < n; i++) {
		if (strcmp(calls[i].function, function))
			continue;
		ns += calls[i].ns;
		any = true;
		ns -= tracer_ns < calls[i].ns ? tracer_ns : calls[i].ns;
	}
	if (function && !any)
		die("%s() was not seen by the tracer", function);
	return ns;
}

struct measured {
	bool done;
	uint64_t ranges;
	struct samples gup_pin, gup_unpin, pin, unpin;
};

static void untraced(int fd, enum gup_arm arm, const struct region *r, size_t len,
		     struct measured *m)
{
	check_pinned(fd, arm, r, len);
	for (unsigned int i = 0; i < runs; i++) {
		struct gup_cost cost;

		graph_drift(i, runs);
		cost = run(fd, arm, r, len);
		m->gup_pin.ns[i] = cost.pin_ns;
		m->gup_unpin.ns[i] = cost.unpin_ns;
		m->ranges = cost.ranges;
	}
	m->done = true;
}

static void by_tracer(int fd, enum gup_arm arm, const struct region *r, size_t len,
		      struct measured *m)
{
	struct graph_call *calls;
	size_t n;

	m->unpin.none = !unpins[arm];
	run(fd, arm, r, len);
	for (unsigned int i = 0; i < runs; i++) {
		graph_start();
		graph_drift(i, runs);
		run(fd, arm, r, len);
		n = graph_stop(&calls);
		m->pin.ns[i] = sum_of(pins[arm], calls, n);
		m->unpin.ns[i] = sum_of(unpins[arm], calls, n);
		free(calls);
	}
}

/* What the tracer shows for the unpin of no pages, which is next to nothing else. */
static void calibrate(int fd)
{
	const struct region none = { 0 };
	struct graph_call *calls;
	size_t n;

	tracer_ns = 0;
	graph_open(traced);
	for (unsigned int i = 0; i < runs; i++) {
		uint64_t ns;

		graph_start();
		graph_drift(i, runs);
		run(fd, GUP_PIN, &none, 0);
		n = graph_stop(&calls);
		ns = sum_of(unpins[GUP_PIN], calls, n);
		if (!tracer_ns || ns < tracer_ns)
			tracer_ns = ns;
		free(calls);
	}
	graph_close();
}

static void measure(int fd, const char *kind, const struct region *r, size_t len,
		    bool stock)
{
	static struct measured all[GUP_ARMS];
	size_t ranges = count_ranges(r->addr, len);

	memset(all, 0, sizeof(all));
	for (enum gup_arm arm = 0; arm < GUP_ARMS; arm++)
		if (!stock || !gup_arm_is_phyrs(arm))
			untraced(fd, arm, r, len, &all[arm]);
	graph_open(traced);
	for (enum gup_arm arm = 0; arm < GUP_ARMS; arm++)
		if (all[arm].done)
			by_tracer(fd, arm, r, len, &all[arm]);
	graph_close();

	for (enum gup_arm arm = 0; arm < GUP_ARMS; arm++) {
		if (!all[arm].done)
			continue;
		printf("{\"kind\": \"%s\", \"bytes\": %zu, \"arm\": \"%s\", \"runs\": %u, \"ranges\": %zu, \"phyrs\": %llu, \"gup_unit_ns\": %u, \"tracer_ns\": %llu",
		       kind, len, gup_arm_name(arm), runs, ranges,
		       (unsigned long long)all[arm].ranges, stock ? 1000 : 1,
		       (unsigned long long)tracer_ns);
		print_samples("pin", &all[arm].pin);
		print_samples("unpin", &all[arm].unpin);
		print_samples("gup_pin", &all[arm].gup_pin);
		print_samples("gup_unpin", &all[arm].gup_unpin);
		puts("}");
	}
}

static void usage(void)
{
	die("usage: phyr_pincost [-k KIND] [-b BYTES] [-n RUNS, odd, up to %u]", MAX_RUNS);
}

int main(int argc, char **argv)
{
	const char *only = NULL, *why;
	size_t only_size = 0;
	bool stock;
	int c, fd;

	while ((c = getopt(argc, argv, "k:b:n:")) != -1) {
		switch (c) {
		case 'k':
			only = optarg;
			break;
		case 'b':
			only_size = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			runs = strtoul(optarg, NULL, 0);
			break;
		default:
			usage();
		}
	}
	if (runs % 2 == 0 || runs > MAX_RUNS)
		usage();

	setvbuf(stdout, NULL, _IOLBF, 0);
	fd = gup_open();
	stock = gup_counts_microseconds(fd);
	calibrate(fd);
	for (size_t i = 0; i < ARRAY_SIZE(cells); i++) {
		struct rng rng = { 1 };
		struct region r;
		size_t most = 0;

		if (only && strcmp(only, cells[i].kind))
			continue;
		for (size_t j = 0; j < ARRAY_SIZE(cells[i].sizes); j++)
			if (cells[i].sizes[j] > most)
				most = cells[i].sizes[j];
		why = region_create(&r, cells[i].kind, most, &rng);
		if (why)
			die("%s: %s", cells[i].kind, why);
		for (size_t j = 0; j < ARRAY_SIZE(cells[i].sizes); j++)
			if (cells[i].sizes[j] && (!only_size || only_size == cells[i].sizes[j]))
				measure(fd, cells[i].kind, &r, cells[i].sizes[j], stock);
		region_destroy(&r);
	}
	return 0;
}
