/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_PHYR_PIN_H
#define _LINUX_PHYR_PIN_H

#include <linux/phyr.h>

struct dev_pagemap;
struct folio;

/**
 * struct phyr_pin - a pin session: one list of ranges, filled by any number of
 *	pin_user_phyrs() calls
 * @phyrs: the array that new ranges go to, owned by the caller
 * @max: entries that @phyrs has room for
 * @nr: entries of @phyrs in use
 * @bytes: bytes pinned by the session so far, over all arrays and calls
 *
 * The session exists because there is one pin for each folio in each range,
 * and what is pinned next may continue the last range: whether that takes
 * another pin depends on which folio the last range ends in.
 *
 * When @phyrs is full the session goes on in another array, see
 * phyr_pin_continue().  The arrays must stay where they are, and their ranges
 * as they are, until the last pin_user_phyrs() call of the session; a session
 * needs no clean-up of its own.  One thread at a time may use it.
 */
struct phyr_pin {
	struct phyr	*phyrs;
	unsigned int	max;
	unsigned int	nr;
	u64		bytes;

	/* private: */
	unsigned int	gup_flags;	/* of the calls so far */
	struct phyr	*last;		/* the last range, in whichever array */
	struct folio	*folio;		/* that @last ends in, and has pinned */
	const struct dev_pagemap *pgmap;	/* of @last */
};

/**
 * phyr_pin_init - start a pin session
 * @pin: the session
 * @phyrs: where the ranges go
 * @max: entries that @phyrs has room for
 *
 * Nothing is pinned or allocated yet.
 *
 * Context: Any context.
 */
static inline void phyr_pin_init(struct phyr_pin *pin, struct phyr *phyrs,
				 unsigned int max)
{
	*pin = (struct phyr_pin){ .phyrs = phyrs, .max = max };
}

/**
 * phyr_pin_continue - give a session another array
 * @pin: the session
 * @phyrs: where further ranges go
 * @max: entries that @phyrs has room for
 *
 * The array in use so far keeps its ranges, the last of which may still grow.
 *
 * Context: Any context.
 */
static inline void phyr_pin_continue(struct phyr_pin *pin, struct phyr *phyrs,
				     unsigned int max)
{
	pin->phyrs = phyrs;
	pin->max = max;
	pin->nr = 0;
}

int pin_user_phyrs(struct phyr_pin *pin, unsigned long start, size_t len,
		   unsigned int gup_flags);
void unpin_user_phyrs(const struct phyr *phyrs, unsigned long nr,
		      bool make_dirty);

#endif /* _LINUX_PHYR_PIN_H */
