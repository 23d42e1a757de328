// SPDX-License-Identifier: GPL-2.0
/*
 * What registering costs where there is much of it: large buffers of hugepages, and many
 * MRs over one buffer. A line of JSON for each size.
 *
 * Each buffer is the beginning of the largest. What that has no pages for is mapped to
 * those that it has: of 1G the first one over and over, of 2M all of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "rc.h"
#include "samples.h"

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE)
#define MR_TIMES "/sys/module/ib_core/parameters/mr_times"
/* So many MRs at least are what a median is of. */
#define LEAST 21

static struct ibv_pd *pd;
static struct region region;
static struct ibv_mr *mrs[MAX_SAMPLES];
static struct samples samples;

static void usage(void)
{
	die("usage: phyr_scale -k 2M|1G -o BYTES of its own [-m MRS, up to %d] BYTES...", MAX_SAMPLES);
}

static struct ibv_mr *reg(size_t len)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, region.addr, len, ACCESS);

	if (!mr)
		die("an MR of %zu bytes: %s", len, errno_name(errno));
	return mr;
}

static void dereg(struct ibv_mr *mr)
{
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr: %m");
}

/* Registers all, then deregisters all. */
static void round_of(size_t len, size_t count)
{
	static uint64_t took[MAX_SAMPLES];
	uint64_t start, cost[VERBS];

	for (size_t i = 0; i < count; i++) {
		start = ticks();
		mrs[i] = reg(len);
		took[i] = ticks() - start;
	}
	for (size_t i = 0; i < count; i++) {
		start = ticks();
		dereg(mrs[i]);
		cost[DEREG] = ticks() - start;
		cost[REG] = took[i];
		samples_add(&samples, cost);
	}
}

/* The kernel's own times come last: taking them is a cost of its own. */
static struct ibv_mr_layout layout_of(size_t len)
{
	struct ibv_mr_layout layout, least = { .pin_ns = UINT64_MAX, .driver_ns = UINT64_MAX };
	int err, fd = open(MR_TIMES, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "1", 1) != 1)
		die("%s: %m", MR_TIMES);
	for (unsigned int i = 0; i < LEAST; i++) {
		struct ibv_mr *mr = reg(len);

		err = ibv_query_mr_layout(mr, &layout, 0);
		if (err || !(layout.flags & IBV_MR_LAYOUT_TIMES))
			die("ibv_query_mr_layout: %s", err ? errno_name(err) : "no times");
		dereg(mr);
		if (layout.pin_ns < least.pin_ns)
			least.pin_ns = layout.pin_ns;
		if (layout.driver_ns < least.driver_ns)
			least.driver_ns = layout.driver_ns;
	}
	if (write(fd, "0", 1) != 1)
		die("%s: %m", MR_TIMES);
	close(fd);
	layout.pin_ns = least.pin_ns;
	layout.driver_ns = least.driver_ns;
	return layout;
}

static void measure(const char *kind, size_t len, size_t own, size_t count)
{
	struct ibv_mr_layout layout;

	/* The first MR is not like the others. */
	dereg(reg(len));
	samples.n = 0;
	do {
		round_of(len, count);
	} while (samples.n < LEAST && samples.n + count <= MAX_SAMPLES);
	layout = layout_of(len);
	printf("{\"page_size\": \"%s\", \"bytes\": %zu, \"own_bytes\": %zu, \"mrs\": %zu", kind, len,
	       own < len ? own : len, count);
	printf(", \"ranges\": %llu, \"desc_bytes\": %llu, \"pin\": %llu, \"driver\": %llu",
	       (unsigned long long)layout.num_ranges, (unsigned long long)layout.desc_bytes,
	       (unsigned long long)layout.pin_ns, (unsigned long long)layout.driver_ns);
	samples_print(&samples);
	puts("}");
}

int main(int argc, char **argv)
{
	size_t most = 0, own = 0, count = 1;
	const char *kind = "", *why;
	int c;

	while ((c = getopt(argc, argv, "k:o:m:")) != -1) {
		switch (c) {
		case 'k':
			kind = optarg;
			break;
		case 'o':
			own = strtoull(optarg, NULL, 0);
			break;
		case 'm':
			count = strtoul(optarg, NULL, 0);
			break;
		default:
			usage();
		}
	}
	for (int i = optind; i < argc; i++)
		if (strtoull(argv[i], NULL, 0) > most)
			most = strtoull(argv[i], NULL, 0);
	if (!most || !own || !count || count > MAX_SAMPLES || (strcmp(kind, "2M") && strcmp(kind, "1G")) ||
	    own % kind_page_size(kind) || most % kind_page_size(kind))
		usage();

	setvbuf(stdout, NULL, _IOLBF, 0);
	pd = ibv_alloc_pd(device_open("rxe0"));
	if (!pd)
		die("ibv_alloc_pd: %m");
	why = region_create_again(&region, kind, most, own, strcmp(kind, "1G") ? own : PAGE_1G);
	if (why)
		die("%zu bytes of %s: %s", own, kind, why);
	for (int i = optind; i < argc; i++)
		measure(kind, strtoull(argv[i], NULL, 0), own, count);
	return 0;
}
