/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef __GUP_TEST_PHYRS_H
#define __GUP_TEST_PHYRS_H

#include <linux/types.h>

struct gup_test;
struct gup_test_chunk;
struct pin_phyrs_compare;

/* A pinned buffer of any length, described by ranges. */
struct gup_test_phyrs {
	struct gup_test_chunk *first;
	unsigned long nr;
	u64 bytes;
};

int gup_test_pin_phyrs(struct gup_test_phyrs *list, unsigned long start,
		       size_t len, unsigned int gup_flags);
int gup_test_read_phyrs(const struct gup_test_phyrs *list, void __user *to);
void gup_test_unpin_phyrs(struct gup_test_phyrs *list, bool make_dirty);

int gup_test_benchmark_phyrs(struct gup_test *gup, bool longterm);
int gup_test_compare_phyrs(struct pin_phyrs_compare *cmp);

#endif	/* __GUP_TEST_PHYRS_H */
