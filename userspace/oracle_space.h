/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The address space that spans are drawn from: kinds of memory side by side, a
 * note on each page of what is there, and changes to both, all from one seed.
 *
 *	hole | small kinds and hugepages | 1G | 1G | the same as before the 1G | hole
 */
#ifndef PHYR_ORACLE_SPACE_H
#define PHYR_ORACLE_SPACE_H

#include "oracle_memory.h"

struct page_state {
	uint8_t kind;
	uint8_t prot;
	/* Shared with a child that lives, if the kind is private */
	uint8_t forked;
	uint8_t reserved;
};

enum verdict {
	MAY_PIN,
	MUST_PIN,
	NEVER_PIN,
};

/* How the kind could be had, by kind; NULL if it could. */
extern const char *space_missing[NR_KINDS];

/* Makes a new space, in place of the last one. A few kinds are for some rounds only. */
void space_make(struct rng *rng, unsigned int round);
/* Changes it a little. */
void space_change(struct rng *rng);
/* Ends the children that still share it. */
void space_leave(void);

/* Puts one piece of @kind where the caller may look at it: for a start. */
const char *space_make_one(enum kind kind, struct rng *rng, unsigned char **at, size_t *len);

/* Draws a byte that a span may start at. */
uint64_t space_pick(struct rng *rng);

bool space_has(uint64_t addr);

/* Whether @addr is in the first 1G page, or so little before it as space_pick() goes. */
bool space_is_giga(uint64_t addr);

/* Where @addr is: its state, and how many bytes from it on have the same. */
struct page_state space_at(uint64_t addr, uint64_t *bytes);

/* What pinning memory of this state with @gup_flags has to do. */
enum verdict space_verdict(struct page_state s, unsigned int gup_flags);

#endif
