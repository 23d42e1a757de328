// SPDX-License-Identifier: GPL-2.0
/*
 * What ib_umem makes of user memory, without a driver behind it. By default random
 * spans are held as a scatterlist and as ranges, and what ib_umem answers for either
 * is compared. With -m it is timed: the scatterlist made of ranges, the ranges, and
 * the scatterlist made of pages, as it was before; for icount guests, where a
 * nanosecond is an instruction.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory.h"
#include "umem_test.h"

#define UMEM_TEST "/sys/kernel/debug/umem_test"
#define RUNS 7
#define LEN_MAX (64 * MiB)

static const char *const kinds[] = {
	"4K", "4K-run", "64K", "thp", "thp-split", "thp-moved", "shmem", "2M", "1G", "mixed"
};

static const uint64_t segments[] = {
	PAGE_4K, 64 * KiB, 3 * MiB, GiB, 2 * GiB - 1, 4 * GiB - PAGE_4K, UINT32_MAX
};

static const char *const mismatches[] = {
	[UMEM_TEST_SAME] = "nothing",
	[UMEM_TEST_ERROR] = "the errno",
	[UMEM_TEST_START] = "the first DMA address",
	[UMEM_TEST_PGSZ] = "the largest page size",
	[UMEM_TEST_PGSZ_KEPT] = "the largest page size, asked again",
	[UMEM_TEST_CONTIGUOUS] = "whether it is contiguous",
	[UMEM_TEST_NR_BLOCKS] = "the number of blocks",
	[UMEM_TEST_BLOCKS] = "the blocks",
	[UMEM_TEST_CONTENT] = "the content",
};

static const uint64_t boundaries[] = { UINT64_MAX, 4 * GiB - 1, PAGE_2M - 1, PAGE_64K - 1, PAGE_4K - 1 };

static int fd;

static void make(struct region *r, const char *kind, size_t len, uint64_t seed)
{
	struct rng rng = { seed };
	const char *why = region_create(r, kind, len, &rng);

	if (why)
		die("%s: %s", kind, why);
}

/* Page sizes as devices have them: a few, many, all, or none that is small enough. */
static uint64_t pick_bitmap(struct rng *rng)
{
	switch (rng_between(rng, 0, 4)) {
	case 0:
		return PAGE_4K | PAGE_2M | PAGE_1G;
	case 1:
		return ~(PAGE_4K - 1);
	case 2:
		return PAGE_64K | PAGE_2M;
	case 3:
		return PAGE_4K;
	default:
		return rng_next(rng) & ~(uint64_t)(UMEM_TEST_PGSZ_MIN - 1);
	}
}

/* Mostly one that goes with the address as far as a hugepage or a page does. */
static uint64_t pick_iova(struct rng *rng, uint64_t addr)
{
	uint64_t step = rng_between(rng, 0, 2) ? PAGE_4K : PAGE_1G;

	switch (rng_between(rng, 0, 3)) {
	case 0:
		return addr;
	case 1:
		return rng_next(rng);
	default:
		return (rng_next(rng) & ~(step - 1)) | (addr & (step - 1));
	}
}

static struct umem_test pick_span(struct rng *rng, const struct region *r)
{
	struct umem_test t = {
		.max_segment = segments[rng_between(rng, 0, ARRAY_SIZE(segments) - 1)],
		.boundary_mask = boundaries[rng_between(rng, 0, ARRAY_SIZE(boundaries) - 1)],
	};
	uint64_t most = rng_between(rng, 0, 3) ? 256 * KiB : r->len;

	t.size = rng_between(rng, 1, most < r->len ? most : r->len);
	t.addr = (uintptr_t)r->addr + rng_between(rng, 0, r->len - t.size);
	if (!rng_between(rng, 0, 2)) {
		t.addr &= ~(PAGE_4K - 1);
		t.size = (t.size + PAGE_4K - 1) & ~(PAGE_4K - 1);
		if (t.addr + t.size > (uintptr_t)r->addr + r->len)
			t.size -= PAGE_4K;
		if (!t.size)
			t.size = PAGE_4K;
	}
	t.iova = pick_iova(rng, t.addr);
	t.pgsz_bitmap = pick_bitmap(rng);
	t.flags = rng_between(rng, 0, UMEM_TEST_DMA | UMEM_TEST_WRITE);
	return t;
}

/* Returns the number of spans that differ. */
static unsigned int compare_kind(const char *kind, unsigned int spans, uint64_t seed, bool spoil)
{
	struct rng rng = rng_named(seed, kind);
	unsigned int bad = 0, split = 0;
	struct region r;

	make(&r, kind, LEN_MAX, seed);
	if (!strcmp(kind, "1G"))
		r.len = GiB;
	for (unsigned int i = 0; i < spans; i++) {
		struct umem_test t = pick_span(&rng, &r);

		if (ioctl(fd, UMEM_TEST_COMPARE, &t))
			die("%s: UMEM_TEST_COMPARE of %#llx bytes: %m", kind, (unsigned long long)t.size);
		if (t.error)
			die("%s: ib_umem_get_va(): %s", kind, errno_name(-t.error));
		if (spoil && i == spans / 2)
			t.mismatch = UMEM_TEST_BLOCKS;
		split += t.nr_sgs > t.nr_phyrs;
		if (!t.mismatch)
			continue;
		bad++;
		ktap_note("%s: %s differ: addr=%#llx size=%#llx iova=%#llx bitmap=%#llx max_segment=%#llx boundary=%#llx flags=%u seed=%#" PRIx64,
			  kind, mismatches[t.mismatch], (unsigned long long)t.addr,
			  (unsigned long long)t.size, (unsigned long long)t.iova,
			  (unsigned long long)t.pgsz_bitmap, (unsigned long long)t.max_segment,
			  (unsigned long long)t.boundary_mask, t.flags, seed);
	}
	ktap_result(!bad, "%s: %u spans, %u mismatches, %u with ranges that were split", kind, spans, bad, split);
	region_destroy(&r);
	return bad;
}

static void compare_errors(void)
{
	struct umem_test t = { .max_segment = GiB, .boundary_mask = UINT64_MAX, .pgsz_bitmap = PAGE_4K };
	unsigned char *hole = mmap(NULL, 3 * PAGE_4K, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (hole == MAP_FAILED || munmap(hole + PAGE_4K, PAGE_4K))
		die("mmap: %m");
	t.addr = (uintptr_t)hole;
	t.size = 3 * PAGE_4K;
	if (ioctl(fd, UMEM_TEST_COMPARE, &t))
		die("UMEM_TEST_COMPARE: %m");
	ktap_result(t.error == -EFAULT && !t.mismatch, "a hole: %s", errno_name(-t.error));
	t.size = UINT64_MAX - t.addr;
	if (ioctl(fd, UMEM_TEST_COMPARE, &t))
		die("UMEM_TEST_COMPARE: %m");
	ktap_result(t.error == -EINVAL && !t.mismatch, "up to the end of the address space: %s",
		    errno_name(-t.error));
	munmap(hole, 3 * PAGE_4K);
}

static void compare(unsigned int spans, uint64_t seed, bool spoil)
{
	struct pin_counters before = pin_counters_read();
	unsigned int bad = 0;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		bad += compare_kind(kinds[i], spans, seed, spoil && !i);
	compare_errors();
	ktap_result(!pins_held_since(before), "every pin was given back");
	ktap_result(!vmpin_kb(), "and is no longer accounted for");
	printf("# figure: umem-forms: spans=%zu mismatches=%u seed=%#" PRIx64 "\n",
	       spans * ARRAY_SIZE(kinds), bad, seed);
}

static struct umem_test measure(const struct region *r, size_t len, uint32_t form)
{
	struct umem_test best = { .get_nsec = UINT64_MAX, .put_nsec = UINT64_MAX };

	for (unsigned int i = 0; i < RUNS; i++) {
		struct umem_test t = {
			.addr = (uintptr_t)r->addr,
			.size = len,
			.iova = (uintptr_t)r->addr,
			.pgsz_bitmap = PAGE_4K,
			.max_segment = 2 * GiB,
			.boundary_mask = UINT64_MAX,
			.flags = UMEM_TEST_DMA | UMEM_TEST_WRITE,
			.form = form,
		};

		if (ioctl(fd, UMEM_TEST_MEASURE, &t))
			die("UMEM_TEST_MEASURE: %m");
		/* An interrupt of the timer only ever adds. */
		if (t.get_nsec > best.get_nsec)
			t.get_nsec = best.get_nsec;
		if (t.put_nsec > best.put_nsec)
			t.put_nsec = best.put_nsec;
		best = t;
	}
	return best;
}

static uint64_t measure_cell(const struct region *r, const char *kind, size_t len)
{
	struct umem_test pages = measure(r, len, UMEM_TEST_PAGES);
	struct umem_test phyrs = measure(r, len, UMEM_TEST_PHYRS);
	struct umem_test sgt = measure(r, len, UMEM_TEST_SGT);

	printf("# figure: umem: memory=%s bytes=%zu ranges=%llu entries=%llu get=%llu put=%llu pages_get=%llu pages_put=%llu ranges_get=%llu ranges_put=%llu\n",
	       kind, len, (unsigned long long)phyrs.nr_phyrs, (unsigned long long)sgt.nr_sgs,
	       (unsigned long long)sgt.get_nsec, (unsigned long long)sgt.put_nsec,
	       (unsigned long long)pages.get_nsec, (unsigned long long)pages.put_nsec,
	       (unsigned long long)phyrs.get_nsec, (unsigned long long)phyrs.put_nsec);
	ktap_result(sgt.get_nsec <= pages.get_nsec, "%s, %zu bytes: a scatterlist of ranges <= one of pages: %llu / %llu",
		    kind, len, (unsigned long long)sgt.get_nsec, (unsigned long long)pages.get_nsec);
	ktap_result(sgt.get_nsec + sgt.put_nsec <= pages.get_nsec + pages.put_nsec,
		    "%s, %zu bytes: with its release: %llu / %llu", kind, len,
		    (unsigned long long)(sgt.get_nsec + sgt.put_nsec),
		    (unsigned long long)(pages.get_nsec + pages.put_nsec));
	return sgt.get_nsec;
}

static void measure_all(void)
{
	static const struct {
		const char *kind;
		size_t sizes[3];
	} cells[] = {
		{ "1G", { PAGE_4K, 64 * MiB, GiB } },
		{ "2M", { PAGE_4K, 64 * MiB, GiB } },
		{ "thp", { 64 * MiB } },
		{ "4K-run", { 64 * MiB } },
		{ "4K", { PAGE_4K, 64 * MiB } },
	};
	uint64_t small = 0, large = 0, get;

	for (size_t i = 0; i < ARRAY_SIZE(cells); i++) {
		struct region r;
		size_t most = 0;

		for (size_t j = 0; j < ARRAY_SIZE(cells[i].sizes); j++)
			if (cells[i].sizes[j] > most)
				most = cells[i].sizes[j];
		make(&r, cells[i].kind, most, 1);
		for (size_t j = 0; j < ARRAY_SIZE(cells[i].sizes); j++) {
			if (!cells[i].sizes[j])
				continue;
			get = measure_cell(&r, cells[i].kind, cells[i].sizes[j]);
			if (!strcmp(cells[i].kind, "1G") && cells[i].sizes[j] == PAGE_4K)
				small = get;
			if (!strcmp(cells[i].kind, "1G") && cells[i].sizes[j] == GiB)
				large = get;
		}
		region_destroy(&r);
	}
	ktap_result(large * 10 <= small * 12, "1 GiB on one 1G page <= 1.2 x 4 KiB: %" PRIu64 " / %" PRIu64 " = %.3f",
		    large, small, (double)large / small);
}

int main(int argc, char **argv)
{
	unsigned int spans = 300;
	bool measuring = false, spoil = false;
	uint64_t seed = 1;
	int c;

	while ((c = getopt(argc, argv, "mn:s:B")) != -1) {
		switch (c) {
		case 'm':
			measuring = true;
			break;
		case 'n':
			spans = strtoul(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'B':
			spoil = true;
			break;
		default:
			die("usage: phyr_umem [-m] [-n SPANS of each kind] [-s SEED] [-B, one result made wrong]");
		}
	}
	fd = open(UMEM_TEST, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die("%s: %m (run as root, with debugfs mounted, on a kernel with CONFIG_INFINIBAND_UMEM_TEST)",
		    UMEM_TEST);
	ktap_start();
	if (measuring)
		measure_all();
	else
		compare(spans, seed, spoil);
	return ktap_finish();
}
