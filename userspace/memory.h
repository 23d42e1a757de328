/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory of a known physical make-up, to register and to move data through.
 */
#ifndef PHYR_MEMORY_H
#define PHYR_MEMORY_H

#include "common.h"

struct region {
	unsigned char *addr;
	size_t len;
	/* What is really mapped: a region can be a part of a mapping. */
	void *map;
	size_t map_len;
};

/*
 * Kinds:
 *   4K         small pages faulted in random order, hence scattered
 *   4K-run     small pages faulted in order, hence in runs
 *   thp        transparent hugepages, mapped by PMDs
 *   thp-split  the same folios, mapped by PTEs
 *   thp-moved  the same folios, mapped by PTEs at an address that is not
 *              congruent to the physical one, and starting inside a folio
 *   64K        folios of 64 KiB, mapped by PTEs and scattered
 *   shmem      small pages of a memfd
 *   2M, 1G     hugetlb pages
 *   1G-again   one hugetlb page of 1G, mapped over and over
 *   mixed      4K, 2M, thp and shmem side by side in one span
 *
 * Returns NULL, or why the kind can't be had here.
 */
const char *region_create(struct region *r, const char *kind, size_t len,
			  struct rng *rng);
void region_destroy(struct region *r);

/*
 * @len bytes of hugetlb pages of kind 2M or 1G: @own bytes of its own, and behind them
 * the first @again of these mapped over and over.
 */
const char *region_create_again(struct region *r, const char *kind, size_t len,
				size_t own, size_t again);

/* A memfd of kind 4K, thp, 2M or 1G, mapped and touched, that can't shrink. */
const char *region_create_memfd(struct region *r, int *fd, const char *kind, size_t len,
				struct rng *rng);

/* The page size a kind is made of; 0 if there is no such kind. */
size_t kind_page_size(const char *kind);

/* How many physically contiguous ranges back [addr, addr + len). Needs root. */
size_t count_ranges(const void *addr, size_t len);

#endif
