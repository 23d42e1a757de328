/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
#ifndef REG_MR_STATS_H
#define REG_MR_STATS_H

#include <stdint.h>

enum reg_mr_stat {
	REG_MR_MIN,
	REG_MR_MAX,
	REG_MR_MEDIAN,
	REG_MR_AVG,
	REG_MR_STDEV,
	REG_MR_P99,
	REG_MR_P99_9,
	REG_MR_STATS,
};

/* Summary of one set of samples */
struct reg_mr_stats {
	double value[REG_MR_STATS];
};

/*
 * Sorts the samples. Percentiles are nearest-rank: the smallest sample that at
 * least so many percent of all samples do not exceed. stdev is that of a sample
 * (n - 1), and 0 where there is just one.
 */
void reg_mr_stats(struct reg_mr_stats *stats, uint64_t *samples, uint64_t n);

#endif /* REG_MR_STATS_H */
