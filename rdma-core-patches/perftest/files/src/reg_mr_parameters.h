/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
#ifndef REG_MR_PARAMETERS_H
#define REG_MR_PARAMETERS_H

#include <stdbool.h>
#include <stdint.h>
#include "page_memory.h"

/* How an MR is registered */
enum reg_mr_path {
	REG_MR_PHYR,
	REG_MR_PAGES,
	REG_MR_ODP,
	REG_MR_DMABUF,
	REG_MR_UNKNOWN,		/* as the kernel does it, which does not tell */
};

/* --mr_path=both: one after the other, over and over */
#define REG_MR_MAX_PATHS 2

struct reg_mr_parameters {
	const char *ib_devname;		/* NULL: the first one */
	uint64_t size;
	uint64_t offset;
	bool all;
	uint64_t iters;
	uint64_t duration;		/* seconds instead of iters, or 0 */
	uint64_t warmup;
	enum page_memory_kind page_size;
	/* Instead of memory by page_size: a file, or the BAR of a device */
	const char *mmap_file;
	uint64_t mmap_offset;
	const char *vfio_dmabuf;
	uint64_t vfio_dmabuf_offset;
	bool one_page;
	bool scattered;
	enum reg_mr_path paths[REG_MR_MAX_PATHS];
	unsigned int n_paths;
	bool path_given;
	unsigned int threads;
	bool breakdown;
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

/* Whether --page_size says what the memory is */
static inline bool reg_mr_has_page_size(const struct reg_mr_parameters *param)
{
	return !param->mmap_file && !param->vfio_dmabuf;
}

/* As on the command line and in reports */
const char *reg_mr_path_name(enum reg_mr_path path);
const char *reg_mr_paths_name(const struct reg_mr_parameters *param);

#endif /* REG_MR_PARAMETERS_H */
