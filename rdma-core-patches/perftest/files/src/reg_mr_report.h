/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
#ifndef REG_MR_REPORT_H
#define REG_MR_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include "reg_mr_layout.h"
#include "reg_mr_parameters.h"
#include "reg_mr_run.h"
#include "reg_mr_stats.h"

/* What one size gave by one path. With an error there are no statistics. */
struct reg_mr_result {
	uint64_t size;
	enum reg_mr_path path;
	uint64_t ranges;		/* physically contiguous, 0: unknown */
	uint64_t iters;			/* completed, by all threads */
	double per_second;		/* registrations, 0: unknown */
	int error;			/* errno, or 0 */
	bool has_layout;
	struct reg_mr_layout layout;
	struct reg_mr_stats stats[REG_MR_STEPS];
};

/* What a whole run was about */
struct reg_mr_info {
	const struct reg_mr_parameters *param;
	const char *devname;
	const struct page_memory_ctx *memory;	/* NULL: not by --page_size */
	uint64_t mapped;
	double mhz;			/* cycles per microsecond, 0: unknown */
};

void reg_mr_print_info(const struct reg_mr_info *info);
void reg_mr_print_header(const struct reg_mr_info *info);
void reg_mr_print_samples(const struct reg_mr_info *info,
			  const struct reg_mr_result *result,
			  const struct reg_mr_samples *samples);
/* Of one size, one for each path */
void reg_mr_print_results(const struct reg_mr_info *info,
			  const struct reg_mr_result results[]);

/* Returns 0, or -1 with a message on stderr. n is a multiple of the paths. */
int reg_mr_write_json(const struct reg_mr_info *info,
		      const struct reg_mr_result *results, unsigned int n);

/*
 * What the second of two paths costs in terms of the first, figure by figure.
 * False if one of them has none.
 */
bool reg_mr_ratio(const struct reg_mr_result results[], enum reg_mr_step step,
		  struct reg_mr_stats *ratio);

/* The name of a step in reports */
const char *reg_mr_step_name(enum reg_mr_step step);

/* "ENOMEM" for ENOMEM, for the errors that registration is known to give */
const char *reg_mr_error_name(int error);

#endif /* REG_MR_REPORT_H */
