/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
#ifndef REG_MR_PARAMETERS_H
#define REG_MR_PARAMETERS_H

#include <stdbool.h>
#include <stdint.h>
#include "page_memory.h"

struct reg_mr_parameters {
	const char *ib_devname;		/* NULL: the first one */
	uint64_t size;
	bool all;
	uint64_t iters;
	uint64_t warmup;
	enum page_memory_kind page_size;
	bool one_page;
	bool scattered;
	bool page_list;			/* --mr_path=pages */
	bool odp;
	bool report_cycles;
	bool report_histogram;
	bool report_unsorted;
	bool cpu_freq_f;
	bool out_json;
	const char *out_json_file_name;
};

enum reg_mr_parse {
	REG_MR_RUN,
	REG_MR_EXIT,			/* help or version was asked for */
	REG_MR_BAD_OPTION,
};

enum reg_mr_parse reg_mr_parse(struct reg_mr_parameters *param, int argc,
			       char *argv[]);

/* How an MR is registered, as on the command line and in reports */
const char *reg_mr_path_name(const struct reg_mr_parameters *param);

#endif /* REG_MR_PARAMETERS_H */
