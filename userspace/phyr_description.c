// SPDX-License-Identifier: GPL-2.0
/*
 * How much kernel memory it takes to describe pinned memory: registers the same
 * buffer a number of times and looks at what the slab caches have given out. rxe's
 * table, by which it finds memory at an offset, comes in larger pieces and is told
 * apart by that. What is gone from the free pages says whether that was all.
 */
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gup.h"
#include "memory.h"
#include "rc.h"

#define MRS 32
#define RANGE_BYTES 16

struct memory_use {
	/* Objects that kmalloc has given out. */
	uint64_t objects;
	/* Pages that it has taken for more than an object's size, and vmalloc. */
	uint64_t large;
	uint64_t free;
};

static uint64_t read_number(const char *path)
{
	FILE *f = fopen(path, "r");
	uint64_t n;

	if (!f || fscanf(f, "%" SCNu64, &n) != 1)
		die("%s: can't read a number", path);
	fclose(f);
	return n;
}

/* Free objects that CPUs keep for themselves count as given out: have them returned. */
static void shrink_slabs(void)
{
	glob_t files;

	if (glob("/sys/kernel/slab/*/shrink", 0, NULL, &files))
		die("no /sys/kernel/slab (a kernel with CONFIG_SLUB_DEBUG has it)");
	for (size_t i = 0; i < files.gl_pathc; i++) {
		int fd = open(files.gl_pathv[i], O_WRONLY | O_CLOEXEC);

		/* A cache may be gone by now. */
		if (fd >= 0 && write(fd, "1", 1) != 1)
			die("%s: %m", files.gl_pathv[i]);
		close(fd);
	}
	globfree(&files);
}

/* The number after @key at the start of a line of @path. */
static uint64_t find_number(const char *path, const char *key)
{
	FILE *f = fopen(path, "r");
	uint64_t n = 0;
	char line[256];
	bool found = false;

	if (!f)
		die("%s: %m", path);
	while (!found && fgets(line, sizeof(line), f))
		found = !strncmp(line, key, strlen(key)) &&
			sscanf(line + strlen(key), "%" SCNu64, &n) == 1;
	fclose(f);
	if (!found)
		die("%s has no %s", path, key);
	return n;
}

/* Free pages, with those that CPUs keep at hand. */
static uint64_t free_pages(void)
{
	FILE *f = fopen("/proc/zoneinfo", "r");
	uint64_t sum = 0, n;
	char line[256];

	if (!f)
		die("/proc/zoneinfo: %m");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " nr_free_pages %" SCNu64, &n) == 1 ||
		    sscanf(line, " count: %" SCNu64, &n) == 1)
			sum += n;
	fclose(f);
	return sum;
}

static struct memory_use memory_use(void)
{
	uint64_t slab_pages = 0, active, slabs;
	struct memory_use use = { 0 };
	unsigned int pages;
	char line[512], name[64], path[160];
	FILE *f;

	shrink_slabs();
	/* Folds in what each CPU has counted for itself. */
	pin_counters_read();
	use.free = free_pages() * PAGE_4K;
	f = fopen("/proc/slabinfo", "r");
	if (!f)
		die("/proc/slabinfo: %m (run as root)");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63s %" SCNu64 " %*u %*u %*u %u : tunables %*u %*u %*u : slabdata %*u %" SCNu64,
			   name, &active, &pages, &slabs) != 4)
			continue;
		slab_pages += slabs * pages;
		if (strncmp(name, "kmalloc", 7))
			continue;
		/* Without what a debug kernel puts around it. */
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/object_size", name);
		use.objects += active * read_number(path);
	}
	fclose(f);
	use.large = (find_number("/proc/meminfo", "SUnreclaim:") +
		     find_number("/proc/meminfo", "SReclaimable:") +
		     find_number("/proc/meminfo", "VmallocUsed:")) * KiB - slab_pages * PAGE_4K;
	return use;
}

static void nothing_beside(const char *kind, double gone, double told, size_t pages)
{
	if (!access("/sys/kernel/debug/kmemleak", F_OK)) {
		ktap_skip("kmemleak takes memory for each piece", "%s: no memory beside it", kind);
		return;
	}
	/* A MR is some memory, too, and pages are in whole ones. */
	ktap_result(gone <= told + 0.5 * pages + 4 * PAGE_4K, "%s: no memory beside it: %.0f of %.0f bytes",
		    kind, told, gone);
}

static void describe(struct ibv_pd *pd, int gup, const char *kind, size_t len, bool scattered)
{
	struct memory_use before, after;
	size_t pages = len / PAGE_4K, ranges;
	struct rng rng = { 1 };
	struct ibv_mr *mr[MRS];
	struct gup_cost cost;
	double list, table, gone, most;
	struct region r;
	const char *why = region_create(&r, kind, len, &rng);

	if (why)
		die("%s: %s", kind, why);
	ranges = count_ranges(r.addr, len);

	before = memory_use();
	for (unsigned int i = 0; i < MRS; i++) {
		mr[i] = ibv_reg_mr(pd, r.addr, len, IBV_ACCESS_LOCAL_WRITE);
		if (!mr[i])
			die("%s: ibv_reg_mr: %m", kind);
	}
	after = memory_use();
	for (unsigned int i = 0; i < MRS; i++)
		if (ibv_dereg_mr(mr[i]))
			die("%s: ibv_dereg_mr: %m", kind);

	list = (double)(int64_t)(after.objects - before.objects) / MRS;
	table = (double)(int64_t)(after.large - before.large) / MRS;
	gone = (double)(int64_t)(before.free - after.free) / MRS;
	printf("# figure: description: memory=%s pages=%zu ranges=%zu bytes=%.0f bytes_per_page=%.3f table_bytes_per_page=%.3f all_bytes_per_page=%.3f\n",
	       kind, pages, ranges, list, list / pages, table / pages, gone / pages);
	nothing_beside(kind, gone, list + table, pages);
	if (scattered) {
		most = RANGE_BYTES * 1.01;
		ktap_result(ranges > pages * 0.95, "%s: %zu pages lie in %zu ranges", kind, pages, ranges);
		ktap_result(list > 0 && list / pages <= most,
			    "%s: at most %.2f bytes a page describe it: %.3f", kind, most, list / pages);
		/* Less than the pages that it must hold would be a mistake in measuring. */
		ktap_result(list >= RANGE_BYTES * (ranges - 4), "%s: and no less than its ranges take: %.0f",
			    kind, list);
	} else {
		if (gup_run(gup, GUP_PHYRS_LONGTERM, r.addr, len, &cost))
			die("%s: gup_test can't pin ranges (run this on our kernel)", kind);
		ktap_result(ranges == 1 && cost.ranges == 1, "%s: %zu pages in a row are one range: %llu",
			    kind, pages, (unsigned long long)cost.ranges);
		ktap_result(list > 0 && list < PAGE_4K, "%s: less than a page describes them, the MR included: %.0f bytes",
			    kind, list);
	}
	region_destroy(&r);
}

int main(void)
{
	struct ibv_pd *pd = ibv_alloc_pd(device_open("rxe0"));
	int gup = gup_open();

	if (!pd)
		die("ibv_alloc_pd: %m");
	ktap_start();
	describe(pd, gup, "4K", 64 * MiB, true);
	describe(pd, gup, "1G", GiB, false);
	return ktap_finish();
}
