/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
#ifndef REG_MR_REPORT_H
#define REG_MR_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include "reg_mr_parameters.h"

/* Summary of one set of samples, in cycles */
struct reg_mr_stats {
	uint64_t min;
	uint64_t max;
	double median;
	double avg;
	double stdev;
	uint64_t p99;
	uint64_t p99_9;
};

/* What one size gave. With an error there are no statistics. */
struct reg_mr_result {
	uint64_t size;
	uint64_t ranges;		/* physically contiguous, 0: unknown */
	uint64_t iters;			/* completed */
	int error;			/* errno, or 0 */
	struct reg_mr_stats reg;
	struct reg_mr_stats dereg;
};

/* What a whole run was about */
struct reg_mr_info {
	const struct reg_mr_parameters *param;
	const char *devname;
	const struct page_memory_ctx *memory;
	double mhz;			/* cycles per microsecond, 0: unknown */
};

/*
 * Sorts the samples. Percentiles are nearest-rank: the smallest sample that at
 * least so many percent of all samples do not exceed. stdev is that of a sample
 * (n - 1), and 0 where there is just one.
 */
void reg_mr_stats(struct reg_mr_stats *stats, uint64_t *samples, uint64_t n);

void reg_mr_print_info(const struct reg_mr_info *info);
void reg_mr_print_header(const struct reg_mr_info *info);
void reg_mr_print_samples(const struct reg_mr_info *info, const uint64_t *reg,
			  const uint64_t *dereg, uint64_t n);
void reg_mr_print_result(const struct reg_mr_info *info,
			 const struct reg_mr_result *result);

/* Returns 0, or -1 with a message on stderr */
int reg_mr_write_json(const struct reg_mr_info *info,
		      const struct reg_mr_result *results, unsigned int n);

/* "ENOMEM" for ENOMEM, for the errors that registration is known to give */
const char *reg_mr_error_name(int error);

#endif /* REG_MR_REPORT_H */
