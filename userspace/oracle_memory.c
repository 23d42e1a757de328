// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oracle_makers.h"

/* Newer than the headers may be. */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif

#define THP "/sys/kernel/mm/transparent_hugepage/"

const char * const kind_names[NR_KINDS] = {
#define KIND(id, name) [KIND_##id] = name,
	KINDS
#undef KIND
};

unsigned char *makers_scratch;

static struct {
	int uffd;
	int split;	/* debugfs */
	bool swap;
} got;

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Let the next faults have folios of this size and no other; 0 for none. */
static bool choose_thp_size(size_t size)
{
	static size_t chosen = 1;
	char path[128];
	bool ok = true;

	if (size == chosen)
		return true;
	for (size_t s = 16 * KiB; s <= PAGE_2M; s *= 2) {
		if (chosen != 1 && s != chosen && s != size)
			continue;
		snprintf(path, sizeof(path), THP "hugepages-%llukB/enabled",
			 (unsigned long long)(s / KiB));
		ok &= write_file(path, s == size ? "madvise" : "never") || s != size;
	}
	chosen = size;
	return ok;
}

static bool map_anon(unsigned char *at, size_t len)
{
	return map_at(at, len, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void open_uffd(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};

	/* Nobody serves the faults: with this feature they fail at once. */
	got.uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (got.uffd >= 0 && ioctl(got.uffd, UFFDIO_API, &api)) {
		close(got.uffd);
		got.uffd = -1;
	}
}

/* Spans are to cross from one node's memory to another's, where there are two. */
static void interleave(void)
{
	unsigned long nodes = 3;

	syscall(SYS_set_mempolicy, 3 /* MPOL_INTERLEAVE */, &nodes, 8 * sizeof(nodes));
}

/* MADV_HWPOISON kills who asks for it, if they let it. */
static volatile sig_atomic_t poisoning;

static void on_sigbus(int sig)
{
	static const char text[] = "phyr_oracle: SIGBUS\n";

	if (poisoning)
		return;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(sig);
	_exit(2);
}

void memory_open(const char *disk)
{
	char line[128];
	unsigned char *map;
	FILE *swaps;

	/* Nothing may change behind the spans' back, or a seed would not replay. */
	write_file(THP "enabled", "madvise");
	write_file(THP "shmem_enabled", "advise");
	write_file(THP "hugepages-2048kB/shmem_enabled", "inherit");
	write_file(THP "khugepaged/scan_sleep_millisecs", "1000000000");
	write_file("/proc/sys/vm/compaction_proactiveness", "0");
	choose_thp_size(0);
	interleave();

	files_open(disk);
	got.split = open("/sys/kernel/debug/split_huge_pages", O_WRONLY | O_CLOEXEC);
	open_uffd();
	signal(SIGBUS, on_sigbus);

	swaps = fopen("/proc/swaps", "r");
	got.swap = swaps && fgets(line, sizeof(line), swaps) && fgets(line, sizeof(line), swaps);
	if (swaps)
		fclose(swaps);

	map = mmap(NULL, 3 * PAGE_2M, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		die("no address space: %m");
	makers_scratch = (unsigned char *)(((uintptr_t)map + PAGE_2M - 1) & ~(PAGE_2M - 1));
}

void memory_start(void)
{
	choose_thp_size(0);
}

static const char *make_small(enum kind kind, unsigned char *at, size_t len, struct rng *rng)
{
	size_t n = len / PAGE_4K;

	if (!map_anon(at, len))
		return strerror(errno);
	madvise(at, len, MADV_NOHUGEPAGE);
	switch (kind) {
	case KIND_SCATTERED: {
		/* An odd stride visits all pages of a power of two of them. */
		size_t mask = 1, stride = rng_next(rng) | 1, i = rng_next(rng);

		while (mask < n)
			mask *= 2;
		for (size_t k = 0; k < mask; k++, i += stride)
			if ((i & (mask - 1)) < n)
				touch(at, (i & (mask - 1)) * PAGE_4K);
		break;
	}
	case KIND_REVERSE:
		while (n--)
			touch(at, n * PAGE_4K);
		break;
	case KIND_ZERO:
		madvise(at, len, MADV_POPULATE_READ);
		break;
	default:
		break;
	}
	return NULL;
}

static const char *make_mthp(unsigned char *at, size_t len, size_t size)
{
	if (!map_anon(at, len))
		return strerror(errno);
	if (madvise(at, len, MADV_HUGEPAGE) || !choose_thp_size(size))
		return "no transparent hugepages of that size";
	madvise(at, len, MADV_POPULATE_WRITE);
	return NULL;
}

/* Small pages that follow each other are got by splitting folios. */
static const char *make_run(unsigned char *at, size_t len)
{
	const char *why = make_mthp(at, len, 64 * KiB);

	if (why)
		return why;

	/* A split puts the zero page in place of what holds nothing. */
	for (size_t off = 0; off < len; off += PAGE_4K)
		touch(at, off);
	memory_split_folios(at, len, 0);
	madvise(at, len, MADV_NOHUGEPAGE);
	return why;
}

static const char *make_thp(enum kind kind, unsigned char *at, size_t len, struct rng *rng)
{
	const char *why;
	size_t from, n;

	if (kind != KIND_THP_MOVED) {
		why = make_mthp(at, len, PAGE_2M);
		if (why)
			return why;
		for (size_t off = 0; off < len && kind != KIND_THP; off += PAGE_2M) {
			/* A page's protection, changed and back, splits the PMD, not the folio. */
			mprotect(at + off + PAGE_4K, PAGE_4K, PROT_READ);
			mprotect(at + off + PAGE_4K, PAGE_4K, RW);
			for (int i = 0; i < 4 && kind == KIND_THP_PARTIAL; i++) {
				from = rng_between(rng, 0, 511);
				n = rng_between(rng, 1, 64);
				madvise(at + off + from * PAGE_4K,
					(from + n > 512 ? 512 - from : n) * PAGE_4K, MADV_DONTNEED);
			}
		}
		return NULL;
	}
	/* The tail of one folio and the head of another, at odd addresses. */
	for (size_t off = 0; off < len; off += n) {
		n = len - off < PAGE_2M ? len - off : PAGE_2M;
		from = rng_between(rng, 1, 511) * PAGE_4K;
		why = make_mthp(makers_scratch, from + n > PAGE_2M ? 2 * PAGE_2M : PAGE_2M, PAGE_2M);
		if (why)
			return why;
		if (mremap(makers_scratch + from, n, n, MREMAP_MAYMOVE | MREMAP_FIXED,
			   at + off) == MAP_FAILED)
			die("mremap: %m");
	}
	clear_scratch();
	return NULL;
}

static const char *make_swapped(unsigned char *at, size_t len, struct rng *rng)
{
	if (!got.swap)
		return "no swap";
	make_small(KIND_SCATTERED, at, len, rng);
	madvise(at, len, MADV_PAGEOUT);
	/* Some come back for reading, and stay in the swap cache. */
	madvise(at, (len / 2) & ~(PAGE_4K - 1), MADV_POPULATE_READ);
	return NULL;
}

static const char *make_guard(unsigned char *at, size_t len)
{
	make_small(KIND_REVERSE, at, len, NULL);
	return madvise(at, len, MADV_GUARD_INSTALL) ? "no MADV_GUARD_INSTALL" : NULL;
}

static const char *make_uffd(unsigned char *at, size_t len, bool wp)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)at, len },
		.mode = wp ? UFFDIO_REGISTER_MODE_WP : UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_writeprotect protect = {
		.range = { (uintptr_t)at, (len / 2 + PAGE_4K - 1) & ~(PAGE_4K - 1) },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	make_small(KIND_REVERSE, at, len, NULL);
	if (!wp)
		madvise(at, len / 2 & ~(PAGE_4K - 1), MADV_DONTNEED);
	if (got.uffd < 0 || ioctl(got.uffd, UFFDIO_REGISTER, &reg) ||
	    (wp && ioctl(got.uffd, UFFDIO_WRITEPROTECT, &protect)))
		return "no userfaultfd";
	return NULL;
}

static const char *make_poison(unsigned char *at, size_t len, struct rng *rng)
{
	unsigned char *page = at + rng_between(rng, 0, len / PAGE_4K - 1) * PAGE_4K;
	int err;

	make_small(KIND_REVERSE, at, len, NULL);
	poisoning = 1;
	err = madvise(page, PAGE_4K, MADV_HWPOISON);
	poisoning = 0;
	return err ? "MADV_HWPOISON is refused" : NULL;
}

const char *memory_make(enum kind kind, unsigned char *at, size_t len, struct rng *rng)
{
	const char *why = NULL;

	if (munmap(at, len))
		die("munmap: %m");
	switch (kind) {
	case KIND_HOLE:
		return NULL;
	case KIND_RUN:
		why = make_run(at, len);
		break;
	case KIND_SCATTERED:
	case KIND_REVERSE ... KIND_ZERO:
		why = make_small(kind, at, len, rng);
		break;
	case KIND_MTHP_16K ... KIND_MTHP_1M:
		why = make_mthp(at, len, memory_unit(kind));
		break;
	case KIND_THP ... KIND_THP_MOVED:
		why = make_thp(kind, at, len, rng);
		break;
	case KIND_SHMEM:
	case KIND_SHMEM_HUGE:
		why = make_shmem(at, len, kind == KIND_SHMEM_HUGE);
		break;
	case KIND_FILE_PRIVATE ... KIND_DISK_PRIVATE:
		why = make_file(kind, at, len, rng);
		break;
	case KIND_ALIAS:
	case KIND_ALIAS_HUGE:
		why = make_alias(at, len, kind == KIND_ALIAS_HUGE, rng);
		break;
	case KIND_SWAPPED:
		why = make_swapped(at, len, rng);
		break;
	case KIND_SECRET:
		why = make_secret(at, len);
		break;
	case KIND_PFNMAP:
		why = make_pfnmap(at, len);
		break;
	case KIND_GUARD:
		why = make_guard(at, len);
		break;
	case KIND_UFFD:
	case KIND_UFFD_WP:
		why = make_uffd(at, len, kind == KIND_UFFD_WP);
		break;
	case KIND_POISON:
		why = make_poison(at, len, rng);
		break;
	default:
		why = make_huge(kind, at, len);
	}
	if (why)
		munmap(at, len);
	return why;
}

size_t memory_unit(enum kind kind)
{
	switch (kind) {
	case KIND_MTHP_16K ... KIND_MTHP_1M:
		return 16 * KiB << (kind - KIND_MTHP_16K);
	case KIND_THP ... KIND_THP_PARTIAL:
	case KIND_SHMEM_HUGE:
	case KIND_HUGE_2M_PRIVATE:
	case KIND_HUGE_2M_SHARED:
		return PAGE_2M;
	case KIND_HUGE_1G_SHARED:
	case KIND_HUGE_1G_PRIVATE:
		return PAGE_1G;
	default:
		return PAGE_4K;
	}
}

bool memory_is_private(enum kind kind)
{
	switch (kind) {
	case KIND_SHMEM:
	case KIND_SHMEM_HUGE:
	case KIND_DISK_SHARED:
	case KIND_ALIAS:
	case KIND_ALIAS_HUGE:
	case KIND_SECRET:
	case KIND_PFNMAP:
	case KIND_HUGE_2M_SHARED:
	case KIND_HUGE_1G_SHARED:
		return false;
	default:
		return true;
	}
}

void memory_split_folios(const unsigned char *at, size_t len, unsigned int order)
{
	char text[96];
	int n;

	/*
	 * What is in the swap cache can be split into single pages alone, and a
	 * debug kernel warns of whoever asks for more.
	 */
	if (!access("/sys/kernel/debug/kmemleak", F_OK))
		order = 0;
	n = snprintf(text, sizeof(text), "%d,0x%lx,0x%lx,%u", getpid(),
		     (unsigned long)at, (unsigned long)at + len, order);
	if (got.split >= 0 && write(got.split, text, n) < 0)
		return;	/* What can't be split is as good. */
}
