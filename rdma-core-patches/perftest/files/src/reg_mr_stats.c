/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * Statistics of ib_reg_mr_lat. Samples are whole numbers, as they were measured,
 * until they are summed up.
 */
#include <math.h>
#include <stdlib.h>
#include "reg_mr_stats.h"

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t percentile(const uint64_t *sorted, uint64_t n, uint64_t permille)
{
	return sorted[(n * permille + 999) / 1000 - 1];
}

void reg_mr_stats(struct reg_mr_stats *stats, uint64_t *samples, uint64_t n)
{
	long double sum = 0, squares = 0, d;
	uint64_t i;

	qsort(samples, n, sizeof(*samples), compare);

	for (i = 0; i < n; i++)
		sum += samples[i];
	for (i = 0; i < n; i++) {
		d = samples[i] - sum / n;
		squares += d * d;
	}

	stats->value[REG_MR_MIN] = samples[0];
	stats->value[REG_MR_MAX] = samples[n - 1];
	stats->value[REG_MR_MEDIAN] = ((long double)samples[(n - 1) / 2] + samples[n / 2]) / 2;
	stats->value[REG_MR_AVG] = sum / n;
	stats->value[REG_MR_STDEV] = n > 1 ? sqrtl(squares / (n - 1)) : 0;
	stats->value[REG_MR_P99] = percentile(samples, n, 990);
	stats->value[REG_MR_P99_9] = percentile(samples, n, 999);
}
