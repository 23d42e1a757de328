/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What registering and giving back cost, time after time, in ticks of the TSC: under
 * icount, instructions.
 */
#ifndef PHYR_SAMPLES_H
#define PHYR_SAMPLES_H

#include <x86intrin.h>

#include "common.h"

#define MAX_SAMPLES 10000

enum verb { REG, DEREG, VERBS };

struct samples {
	size_t n;
	uint64_t cost[VERBS][MAX_SAMPLES];
};

void samples_add(struct samples *s, const uint64_t cost[VERBS]);

/* ', "reg": {"min": ..., "median": ..., "p99": ...}, "dereg": {...}'; sorts them. */
void samples_print(struct samples *s);

static inline uint64_t ticks(void)
{
	return __rdtsc();
}

#endif
