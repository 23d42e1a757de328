/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every kind of memory that pinning treats differently, made at an address that
 * the caller chooses, so that kinds lie side by side.
 */
#ifndef PHYR_ORACLE_MEMORY_H
#define PHYR_ORACLE_MEMORY_H

#include "common.h"

/* KIND(identifier, name); what each is made of is at its maker. */
#define KINDS \
	KIND(HOLE, "hole") \
	KIND(SCATTERED, "4K") \
	KIND(RUN, "4K-run") \
	KIND(REVERSE, "4K-reverse") \
	KIND(FRESH, "unfaulted") \
	KIND(ZERO, "zero-page") \
	KIND(MTHP_16K, "mthp-16K") \
	KIND(MTHP_32K, "mthp-32K") \
	KIND(MTHP_64K, "mthp-64K") \
	KIND(MTHP_128K, "mthp-128K") \
	KIND(MTHP_256K, "mthp-256K") \
	KIND(MTHP_512K, "mthp-512K") \
	KIND(MTHP_1M, "mthp-1M") \
	KIND(THP, "thp") \
	KIND(THP_SPLIT, "thp-split") \
	KIND(THP_PARTIAL, "thp-partial") \
	KIND(THP_MOVED, "thp-moved") \
	KIND(SHMEM, "shmem") \
	KIND(SHMEM_HUGE, "shmem-huge") \
	KIND(FILE_PRIVATE, "file-private") \
	KIND(FILE_COW, "file-cow") \
	KIND(DISK_SHARED, "disk-shared") \
	KIND(DISK_PRIVATE, "disk-private") \
	KIND(ALIAS, "alias") \
	KIND(ALIAS_HUGE, "alias-huge") \
	KIND(SWAPPED, "swapped") \
	KIND(SECRET, "secretmem") \
	KIND(PFNMAP, "pfnmap") \
	KIND(GUARD, "guard") \
	KIND(UFFD, "uffd") \
	KIND(UFFD_WP, "uffd-wp") \
	KIND(POISON, "hwpoison") \
	KIND(HUGE_2M_PRIVATE, "2M-private") \
	KIND(HUGE_2M_SHARED, "2M-shared") \
	KIND(HUGE_1G_SHARED, "1G-shared") \
	KIND(HUGE_1G_PRIVATE, "1G-private") \
	/* Not made, but found where the kernel puts them */ \
	KIND(TOP, "top") \
	KIND(VDSO, "vdso") \
	KIND(VVAR, "vvar") \
	KIND(STACK, "stack") \
	KIND(BEYOND, "beyond") \
	KIND(ELSEWHERE, "elsewhere") \
	/* Not made of anything, but states that any of the above can be in */ \
	KIND(READ_ONLY, "read-only") \
	KIND(NO_ACCESS, "no-access") \
	KIND(FORKED, "forked") \
	KIND(FORKED_HUGE, "forked-2M")

enum kind {
#define KIND(id, name) KIND_##id,
	KINDS
#undef KIND
	NR_KINDS,
	NR_MADE = KIND_TOP,
};

extern const char * const kind_names[NR_KINDS];

/* @disk: a directory in a file system that is on a disk, or NULL. */
void memory_open(const char *disk);

/* Forgets settings that the kinds made so far have left. */
void memory_start(void);

/*
 * Maps @len bytes of @kind at @at, in place of what is there. Returns NULL, or why
 * there is no such memory here; then there is a hole.
 */
const char *memory_make(enum kind kind, unsigned char *at, size_t len, struct rng *rng);

/* What a kind is mapped in multiples of and aligned to. */
size_t memory_unit(enum kind kind);

/* MAP_PRIVATE, so that fork() makes it shared for copy on write. */
bool memory_is_private(enum kind kind);

/* Splits the folios that are mapped in a range to @order. */
void memory_split_folios(const unsigned char *at, size_t len, unsigned int order);

/*
 * Reads from the kernel what the memory just made really is, and puts it into
 * @text. Returns false if that is not the kind it should be.
 */
bool memory_verify(enum kind kind, const unsigned char *at, size_t len, char *text, size_t size);

#endif
