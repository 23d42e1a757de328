/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What pinning costs, by /sys/kernel/debug/gup_test: one pin of a buffer and its
 * unpin, on our kernel and on the stock one.
 */
#ifndef PHYR_GUP_H
#define PHYR_GUP_H

#include "common.h"

enum gup_arm {
	GUP_GET,		/* get_user_pages_fast(), put_page() */
	GUP_PIN,		/* pin_user_pages_fast(), unpin_user_pages() */
	GUP_PIN_LONGTERM,	/* the same, as RDMA does it */
	GUP_PHYRS,		/* pin_user_phyrs(), unpin_user_phyrs() */
	GUP_PHYRS_LONGTERM,
	GUP_ARMS
};

struct gup_cost {
	uint64_t pin_ns;
	uint64_t unpin_ns;
	uint64_t bytes;
	/* 0 if the kernel doesn't say. */
	uint64_t ranges;
};

/* Opens gup_test. Needs root, and debugfs. */
int gup_open(void);

const char *gup_arm_name(enum gup_arm arm);
bool gup_arm_is_phyrs(enum gup_arm arm);

/* A stock kernel's figures are whole microseconds, rounded down. */
bool gup_counts_microseconds(int fd);

/* Always for writing. Returns 0 or an errno: EINVAL on a kernel without the arm. */
int gup_run(int fd, enum gup_arm arm, const void *addr, size_t len,
	    struct gup_cost *cost);

#endif
