// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <stdlib.h>

#include "samples.h"

static const char *const names[VERBS] = { [REG] = "reg", [DEREG] = "dereg" };

void samples_add(struct samples *s, const uint64_t cost[VERBS])
{
	if (s->n == MAX_SAMPLES)
		die("more than %d samples", MAX_SAMPLES);
	for (enum verb v = 0; v < VERBS; v++)
		s->cost[v][s->n] = cost[v];
	s->n++;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

void samples_print(struct samples *s)
{
	for (enum verb v = 0; v < VERBS; v++) {
		const uint64_t *cost = s->cost[v];

		qsort(s->cost[v], s->n, sizeof(*cost), by_value);
		printf(", \"%s\": {\"min\": %llu, \"median\": %llu, \"p99\": %llu}", names[v],
		       (unsigned long long)cost[0], (unsigned long long)cost[s->n / 2],
		       (unsigned long long)cost[(s->n - 1) * 99 / 100]);
	}
}
