/* SPDX-License-Identifier: GPL-2.0 */
/* How the space is laid out: for who makes it and who looks at it. */
#ifndef PHYR_ORACLE_LAYOUT_H
#define PHYR_ORACLE_LAYOUT_H

#include "oracle_space.h"

#define RW (PROT_READ | PROT_WRITE)

/* In slots of 2M: on each side of the two 1G pages between. */
#define SIDE 8ULL
#define SLOT_PAGES (PAGE_2M / PAGE_4K)
#define SIDE_PAGES (SIDE * SLOT_PAGES)
#define EDGE_PAGES 16ULL
#define GIGA_PAGES (PAGE_1G / PAGE_4K)
#define LEFT EDGE_PAGES
#define MIDDLE (LEFT + SIDE_PAGES)
#define RIGHT (MIDDLE + 2 * GIGA_PAGES)
#define NR_PAGES (RIGHT + SIDE_PAGES + EDGE_PAGES)
/* The same in every run: no seed replays elsewhere. The 1G pages start at 2^40. */
#define SPACE ((1ULL << 40) - MIDDLE * PAGE_4K)

extern struct page_state space_state[NR_PAGES];

static inline unsigned char *page_addr(size_t page)
{
	return (unsigned char *)(SPACE + page * PAGE_4K);
}

/* The page of the sides that is @i pages from their start. */
static inline size_t side_page(size_t i)
{
	return i < SIDE_PAGES ? LEFT + i : RIGHT + i - SIDE_PAGES;
}

static inline size_t pick_side_page(struct rng *rng)
{
	return side_page(rng_between(rng, 0, 2 * SIDE_PAGES - 1));
}

#endif
