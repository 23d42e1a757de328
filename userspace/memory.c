// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory.h"

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif
#define HUGE_2M (21 << MAP_HUGE_SHIFT)
#define HUGE_1G (30 << MAP_HUGE_SHIFT)

static const struct {
	const char *name;
	size_t page_size;
} kinds[] = {
	{ "4K", PAGE_4K }, { "4K-run", PAGE_4K }, { "shmem", PAGE_4K },
	{ "thp", PAGE_2M }, { "thp-split", PAGE_2M }, { "thp-moved", PAGE_2M },
	{ "2M", PAGE_2M }, { "mixed", PAGE_2M }, { "1G", PAGE_1G },
	{ "64K", PAGE_64K }, { "1G-again", PAGE_1G },
};

size_t kind_page_size(const char *kind)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].name, kind))
			return kinds[i].page_size;
	return 0;
}

/* Reserve address space for @len bytes at an address aligned to @align. */
static unsigned char *reserve(struct region *r, size_t len, size_t align)
{
	r->map_len = len + align;
	r->map = mmap(NULL, r->map_len, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (r->map == MAP_FAILED)
		die("can't reserve %zu bytes of address space: %m", r->map_len);
	return (unsigned char *)(((uintptr_t)r->map + align - 1) & ~(align - 1));
}

static const char *map_at(unsigned char *at, size_t len, int flags, int fd)
{
	void *p = mmap(at, len, PROT_READ | PROT_WRITE, MAP_FIXED | flags, fd, 0);

	return p == MAP_FAILED ? strerror(errno) : NULL;
}

static void fault_in_order(unsigned char *at, size_t len, size_t step)
{
	for (size_t off = 0; off < len; off += step)
		*(volatile unsigned char *)(at + off) = 0;
}

static void fault_scattered(unsigned char *at, size_t len, size_t step,
			    struct rng *rng)
{
	size_t n = len / step;
	uint32_t *order = malloc(n * sizeof(*order));

	if (!order)
		die("out of memory");
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	for (size_t i = n - 1; i > 0; i--) {
		size_t j = rng_between(rng, 0, i);
		uint32_t t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (size_t i = 0; i < n; i++)
		*(volatile unsigned char *)(at + order[i] * step) = 0;
	free(order);
}

static const char *fill_small(unsigned char *at, size_t len, struct rng *rng)
{
	const char *err = map_at(at, len, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (err)
		return err;
	/* Fails where the kernel has no THP, and then there is nothing to ask. */
	madvise(at, len, MADV_NOHUGEPAGE);
	if (rng)
		fault_scattered(at, len, PAGE_4K, rng);
	else
		fault_in_order(at, len, PAGE_4K);
	return NULL;
}

static const char *fill_thp(unsigned char *at, size_t len)
{
	const char *err = map_at(at, len, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (err)
		return err;
	if (madvise(at, len, MADV_HUGEPAGE))
		return "no transparent hugepages";
	fault_in_order(at, len, PAGE_4K);
	if (count_ranges(at, len) > len / PAGE_2M)
		return "transparent hugepages asked for but not given";
	return NULL;
}

/* Writes @what to a file of a few bytes and returns what it said before. */
static const char *exchange(const char *path, const char *what, char *was, size_t size)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, was, size - 1);
	bool done = n >= 0 && pwrite(fd, what, strlen(what), 0) >= 0;

	close(fd);
	if (!done)
		return strerror(errno);
	was[n] = '\0';
	return NULL;
}

/* Is [at, at + len) made of whole folios of 64 KiB, no larger and no smaller? */
static bool is_64k_folios(const unsigned char *at, size_t len)
{
	const size_t pages = PAGE_64K / PAGE_4K;
	const uint64_t head = 1 << 15, tail = 1 << 16, thp = 1 << 22;
	int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int flags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	uint64_t entries[pages], kinds[pages + 1], pfn;
	const ssize_t whole = sizeof(entries), and_next = sizeof(kinds);
	bool good = true;

	if (map < 0 || flags < 0)
		die("/proc/self/pagemap, /proc/kpageflags: %m");
	for (size_t off = 0; good && off < len; off += PAGE_64K) {
		if (pread(map, entries, sizeof(entries), ((uintptr_t)at + off) /
			  PAGE_4K * sizeof(*entries)) != whole)
			die("/proc/self/pagemap: short read");
		pfn = entries[0] & ((1ULL << 55) - 1);
		if (pread(flags, kinds, sizeof(kinds), pfn * sizeof(*kinds)) != and_next)
			die("/proc/kpageflags: short read");
		good = (kinds[0] & head) && !(kinds[pages] & tail);
		for (size_t i = 0; i < pages; i++)
			good = good && entries[i] >> 63 && (kinds[i] & thp) &&
			       (entries[i] & ((1ULL << 55) - 1)) == pfn + i &&
			       (!i || (kinds[i] & tail));
	}
	close(map);
	close(flags);
	return good;
}

/* Not advised to, or the kernel would rather give hugepages of 2M. */
static const char *fill_64k(unsigned char *at, size_t len, struct rng *rng)
{
	const char *switch_path = "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled";
	char was[64], rest[64], *now;
	const char *err = map_at(at, len, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (!err)
		err = exchange(switch_path, "always", was, sizeof(was));
	if (err)
		return err;
	fault_scattered(at, len, PAGE_64K, rng);
	/* What is in force is in brackets. */
	now = strchr(was, '[');
	err = exchange(switch_path, strtok(now ? now + 1 : was, "]"), rest, sizeof(rest));
	if (!err && !is_64k_folios(at, len))
		err = "64K folios asked for but not given";
	return err;
}

static const char *fill_shmem(unsigned char *at, size_t len)
{
	int fd = memfd_create("phyr", MFD_CLOEXEC);
	const char *err;

	if (fd < 0 || ftruncate(fd, len))
		return strerror(errno);
	err = map_at(at, len, MAP_SHARED, fd);
	close(fd);
	if (!err)
		fault_in_order(at, len, PAGE_4K);
	return err;
}

static const char *fill_hugetlb(unsigned char *at, size_t len, int size_flag)
{
	const char *err = map_at(at, len, MAP_PRIVATE | MAP_ANONYMOUS |
				 MAP_HUGETLB | size_flag, -1);

	if (err)
		return size_flag == HUGE_1G ? "too few 1G hugepages reserved" :
					      "too few 2M hugepages reserved";
	fault_in_order(at, len, size_flag == HUGE_1G ? PAGE_1G : PAGE_2M);
	return NULL;
}

/* @own bytes, then the first @again of them over and over, which takes no more memory. */
static const char *fill_again(unsigned char *at, size_t len, size_t own, size_t again,
			      int size_flag)
{
	int fd = memfd_create("phyr", MFD_CLOEXEC | MFD_HUGETLB | size_flag);
	const char *err = NULL;

	if (fd < 0 || ftruncate(fd, own))
		return strerror(errno);
	for (size_t off = 0, n = own; !err && off < len; off += n, n = again)
		err = map_at(at + off, n < len - off ? n : len - off, MAP_SHARED, fd);
	close(fd);
	if (err)
		return size_flag == HUGE_1G ? "too few 1G hugepages reserved" :
					      "too few 2M hugepages reserved";
	fault_in_order(at, len, size_flag == HUGE_1G ? PAGE_1G : PAGE_2M);
	return NULL;
}

/* Changing one page's protection and back splits the PMD and not the folio. */
static void split_pmds(unsigned char *at, size_t len)
{
	for (size_t off = 0; off < len; off += PAGE_2M) {
		if (mprotect(at + off + PAGE_4K, PAGE_4K, PROT_READ) ||
		    mprotect(at + off + PAGE_4K, PAGE_4K, PROT_READ | PROT_WRITE))
			die("mprotect: %m");
	}
}

static const char *make_moved(struct region *r, size_t len)
{
	size_t shift = 3 * PAGE_4K;
	unsigned char *from = reserve(r, len + PAGE_2M, PAGE_2M);
	struct region to = { .len = len };
	const char *err = fill_thp(from, len + PAGE_2M);
	unsigned char *at;

	if (err)
		return err;
	at = reserve(&to, len + PAGE_2M, PAGE_2M) + 5 * PAGE_4K;
	if (mremap(from + shift, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
		   at) == MAP_FAILED)
		die("mremap: %m");
	munmap(r->map, r->map_len);
	*r = to;
	r->addr = at;
	return NULL;
}

static const char *fill_mixed(unsigned char *at, size_t len, struct rng *rng)
{
	static const unsigned int makers = 4;
	size_t part = len / makers;
	const char *err;

	err = fill_small(at, part, rng);
	if (!err)
		err = fill_hugetlb(at + part, part, HUGE_2M);
	if (!err)
		err = fill_thp(at + 2 * part, part);
	if (!err)
		err = fill_shmem(at + 3 * part, part);
	return err;
}

const char *region_create(struct region *r, const char *kind, size_t len,
			  struct rng *rng)
{
	size_t page = kind_page_size(kind);
	const char *err;

	if (!page)
		return "no such kind of memory";

	memset(r, 0, sizeof(*r));
	r->len = len;
	if (!strcmp(kind, "thp-moved")) {
		err = make_moved(r, len);
	} else {
		size_t whole = (len + page - 1) & ~(page - 1);

		r->addr = reserve(r, whole, page);
		if (!strcmp(kind, "4K"))
			err = fill_small(r->addr, whole, rng);
		else if (!strcmp(kind, "4K-run"))
			err = fill_small(r->addr, whole, NULL);
		else if (!strcmp(kind, "shmem"))
			err = fill_shmem(r->addr, whole);
		else if (!strcmp(kind, "2M"))
			err = fill_hugetlb(r->addr, whole, HUGE_2M);
		else if (!strcmp(kind, "1G"))
			err = fill_hugetlb(r->addr, whole, HUGE_1G);
		else if (!strcmp(kind, "1G-again"))
			err = fill_again(r->addr, whole, PAGE_1G, PAGE_1G, HUGE_1G);
		else if (!strcmp(kind, "64K"))
			err = fill_64k(r->addr, whole, rng);
		else if (!strcmp(kind, "mixed"))
			err = fill_mixed(r->addr, whole, rng);
		else
			err = fill_thp(r->addr, whole);
		if (!err && !strcmp(kind, "thp-split"))
			split_pmds(r->addr, whole);
	}
	if (err)
		region_destroy(r);
	return err;
}

const char *region_create_again(struct region *r, const char *kind, size_t len,
				size_t own, size_t again)
{
	size_t page = kind_page_size(kind);
	const char *err;

	memset(r, 0, sizeof(*r));
	r->len = len;
	r->addr = reserve(r, len, page);
	err = fill_again(r->addr, len, own, again, page == PAGE_1G ? HUGE_1G : HUGE_2M);
	if (err)
		region_destroy(r);
	return err;
}

static const char *fill_memfd(unsigned char *at, int fd, const char *kind, size_t len,
			      struct rng *rng)
{
	size_t page = kind_page_size(kind);
	const char *err;

	if (ftruncate(fd, len) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
		return strerror(errno);
	err = map_at(at, len, MAP_SHARED, fd);
	if (err)
		return page == PAGE_4K ? err : "too few hugepages reserved";
	if (!strcmp(kind, "4K")) {
		madvise(at, len, MADV_NOHUGEPAGE);
		fault_scattered(at, len, PAGE_4K, rng);
		return NULL;
	}
	if (!strcmp(kind, "thp") && madvise(at, len, MADV_HUGEPAGE))
		return "no transparent hugepages";
	fault_in_order(at, len, page);
	if (!strcmp(kind, "thp") && count_ranges(at, len) > len / PAGE_2M)
		return "transparent hugepages asked for but not given (see shmem_enabled)";
	return NULL;
}

const char *region_create_memfd(struct region *r, int *fd, const char *kind, size_t len,
				struct rng *rng)
{
	size_t page = kind_page_size(kind);
	int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	const char *err;

	memset(r, 0, sizeof(*r));
	if (!strcmp(kind, "2M"))
		flags |= MFD_HUGETLB | HUGE_2M;
	else if (!strcmp(kind, "1G"))
		flags |= MFD_HUGETLB | HUGE_1G;
	else if (strcmp(kind, "4K") && strcmp(kind, "thp"))
		return "no such kind of memfd";
	*fd = memfd_create("phyr", flags);
	if (*fd < 0)
		return strerror(errno);
	r->len = len;
	r->addr = reserve(r, len, page);
	err = fill_memfd(r->addr, *fd, kind, len, rng);
	if (err) {
		region_destroy(r);
		close(*fd);
	}
	return err;
}

void region_destroy(struct region *r)
{
	if (r->map)
		munmap(r->map, r->map_len);
	memset(r, 0, sizeof(*r));
}

size_t count_ranges(const void *addr, size_t len)
{
	const uint64_t present = 1ULL << 63, pfn_mask = (1ULL << 55) - 1;
	uint64_t page = (uintptr_t)addr / PAGE_4K;
	uint64_t end = ((uintptr_t)addr + len + PAGE_4K - 1) / PAGE_4K;
	uint64_t entries[512], last = 0;
	size_t ranges = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("/proc/self/pagemap: %m");
	while (page < end) {
		size_t want = end - page < ARRAY_SIZE(entries) ?
			      end - page : ARRAY_SIZE(entries);
		ssize_t got = pread(fd, entries, want * sizeof(*entries),
				    page * sizeof(*entries));

		if (got <= 0)
			die("/proc/self/pagemap: %s", got ? strerror(errno) : "short read");
		for (size_t i = 0; i < got / sizeof(*entries); i++) {
			uint64_t pfn = entries[i] & present ?
				       entries[i] & pfn_mask : 0;

			if (!pfn || pfn != last + 1)
				ranges++;
			last = pfn;
		}
		page += got / sizeof(*entries);
	}
	close(fd);
	return ranges;
}
