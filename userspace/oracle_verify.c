// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "oracle_memory.h"

/* /proc/self/pagemap and /proc/kpageflags, see admin-guide/mm/pagemap.rst */
#define PM_PRESENT	(1ULL << 63)
#define PM_SWAPPED	(1ULL << 62)
#define PM_GUARD	(1ULL << 58)
#define PM_UFFD_WP	(1ULL << 57)
#define PM_PFN		((1ULL << 55) - 1)
#define KPF_ANON	(1ULL << 12)
#define KPF_HEAD	(1ULL << 15)
#define KPF_TAIL	(1ULL << 16)
#define KPF_HUGE	(1ULL << 17)
#define KPF_ZERO_PAGE	(1ULL << 24)

/* Enough to tell by, and little of a 1G page. */
#define LOOK_PAGES 512

struct findings {
	size_t pages, ranges;
	size_t present, swapped, guarded, write_protected;
	size_t anon, compound, heads, hugetlb, zero, frames;
	/* Of /proc/self/smaps, over all mappings in the range */
	size_t mappings, pmd_bytes, page_kb;
	char flags[160];
};

static int compare_frames(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void look_at_pages(struct findings *f, const unsigned char *at, size_t pages)
{
	uint64_t entries[LOOK_PAGES], frames[LOOK_PAGES], flags;
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int kpageflags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	ssize_t bytes = pages * sizeof(*entries);

	if (pagemap < 0 || kpageflags < 0)
		die("/proc/self/pagemap, /proc/kpageflags: %m");
	if (pread(pagemap, entries, bytes, (uintptr_t)at / PAGE_4K * sizeof(*entries)) != bytes)
		die("/proc/self/pagemap: short read");
	for (size_t i = 0; i < pages; i++) {
		f->swapped += !!(entries[i] & PM_SWAPPED);
		f->guarded += !!(entries[i] & PM_GUARD);
		f->write_protected += !!(entries[i] & PM_UFFD_WP);
		if (!(entries[i] & PM_PRESENT))
			continue;
		frames[f->present] = entries[i] & PM_PFN;
		if (pread(kpageflags, &flags, sizeof(flags),
			  frames[f->present++] * sizeof(flags)) != sizeof(flags))
			continue;
		f->anon += !!(flags & KPF_ANON);
		f->compound += !!(flags & (KPF_HEAD | KPF_TAIL));
		f->heads += !!(flags & KPF_HEAD);
		f->hugetlb += !!(flags & KPF_HUGE);
		f->zero += !!(flags & KPF_ZERO_PAGE);
	}
	qsort(frames, f->present, sizeof(*frames), compare_frames);
	for (size_t i = 0; i < f->present; i++)
		f->frames += !i || frames[i] != frames[i - 1];
	f->ranges = count_ranges(at, pages * PAGE_4K);
	close(pagemap);
	close(kpageflags);
}

static void look_at_mappings(struct findings *f, const unsigned char *at, size_t len)
{
	uint64_t lo = (uintptr_t)at, hi = lo + len, start, end, kb;
	FILE *smaps = fopen("/proc/self/smaps", "r");
	char line[512], key[64];
	bool in = false;

	if (!smaps)
		die("/proc/self/smaps: %m");
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx %63s", &start, &end, key) == 3) {
			in = start < hi && end > lo;
			f->mappings += in;
		} else if (in && !strncmp(line, "VmFlags:", 8)) {
			snprintf(f->flags, sizeof(f->flags), "%.150s", line + 8);
			f->flags[strcspn(f->flags, "\n")] = 0;
		} else if (in && sscanf(line, "%63[^:]: %lu kB", key, &kb) == 2) {
			if (!strcmp(key, "AnonHugePages") || !strcmp(key, "ShmemPmdMapped"))
				f->pmd_bytes += kb * KiB;
			else if (!strcmp(key, "KernelPageSize"))
				f->page_kb = kb;
		}
	}
	fclose(smaps);
}

static bool is_it(enum kind kind, const struct findings *f, const unsigned char *at)
{
	size_t n = f->pages;
	bool all = f->present == n, shared = strstr(f->flags, " sh");

	(void)at;
	switch (kind) {
	case KIND_HOLE:
		return !f->mappings;
	case KIND_SCATTERED:
	case KIND_REVERSE:
		return all && f->anon == n && !f->compound && f->ranges > n / 2;
	case KIND_RUN:
		return all && f->anon == n && !f->compound && f->ranges < n / 2;
	case KIND_FRESH:
		return f->mappings == 1 && !f->present;
	case KIND_ZERO:
		return f->zero == n;
	case KIND_MTHP_16K ... KIND_MTHP_1M:
		return all && f->anon == n && !f->pmd_bytes &&
		       f->heads == n * PAGE_4K / memory_unit(kind) && f->compound == n;
	case KIND_THP:
		return all && f->anon == n && f->pmd_bytes == n * PAGE_4K;
	case KIND_THP_SPLIT:
		return all && f->anon == n && !f->pmd_bytes && f->compound == n && f->ranges == 1;
	case KIND_THP_PARTIAL:
		return !all && f->present && !f->pmd_bytes && f->compound == f->present;
	case KIND_THP_MOVED:
		return all && !f->pmd_bytes && f->compound == n && f->heads == 1 && f->ranges <= 2;
	case KIND_SHMEM:
		return all && !f->anon && shared && !f->pmd_bytes;
	case KIND_SHMEM_HUGE:
		return all && !f->anon && shared && f->pmd_bytes == n * PAGE_4K;
	case KIND_FILE_PRIVATE:
	case KIND_DISK_PRIVATE:
		return all && !f->anon && !shared;
	case KIND_FILE_COW:
		return all && f->anon && f->anon < n && !shared;
	case KIND_DISK_SHARED:
		return all && !f->anon && shared;
	case KIND_ALIAS:
		return all && shared && f->frames < n && f->mappings > 1;
	case KIND_ALIAS_HUGE:
		return all && shared && f->frames < n && f->mappings > 1 && f->compound == n;
	case KIND_SWAPPED:
		return f->swapped && f->present;
	case KIND_SECRET:
		return all && shared;
	case KIND_PFNMAP:
		return strstr(f->flags, " pf");
	case KIND_GUARD:
		return f->guarded == n;
	case KIND_UFFD:
		return strstr(f->flags, " um") && f->present && !all;
	case KIND_UFFD_WP:
		return strstr(f->flags, " uw") && f->write_protected && f->write_protected < n;
	case KIND_POISON:
		return f->present == n - 1;
	case KIND_HUGE_2M_PRIVATE:
	case KIND_HUGE_2M_SHARED:
		return all && f->hugetlb == n && f->page_kb == PAGE_2M / KiB &&
		       shared == (kind == KIND_HUGE_2M_SHARED);
	case KIND_HUGE_1G_PRIVATE:
	case KIND_HUGE_1G_SHARED:
		return all && f->hugetlb == n && f->page_kb == PAGE_1G / KiB &&
		       shared == (kind == KIND_HUGE_1G_SHARED);
	default:
		return false;
	}
}

bool memory_verify(enum kind kind, const unsigned char *at, size_t len, char *text, size_t size)
{
	struct findings f = { .pages = len / PAGE_4K };

	if (f.pages > LOOK_PAGES)
		f.pages = LOOK_PAGES;
	look_at_pages(&f, at, f.pages);
	look_at_mappings(&f, at, f.pages * PAGE_4K);
	snprintf(text, size, "%zu pages, %zu present, %zu frames, %zu ranges, %zu anon, %zu compound, "
		 "%zu heads, %zu swapped, %zu mappings, %zu bytes by PMD, %zu kB,%s",
		 f.pages, f.present, f.frames, f.ranges, f.anon, f.compound, f.heads, f.swapped,
		 f.mappings, f.pmd_bytes, f.page_kb, f.flags);
	return is_it(kind, &f, at);
}
