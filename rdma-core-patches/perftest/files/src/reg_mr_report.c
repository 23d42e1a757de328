/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/* The table that ib_reg_mr_lat prints, and its list of samples. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include "reg_mr_report.h"

#define LINE "---------------------------------------------------------------------------------------"

static const struct {
	const char *title;
	int width;
} columns[REG_MR_STATS] = {
	[REG_MR_MIN]	= { "t_min", 17 },
	[REG_MR_MAX]	= { "t_max", 17 },
	[REG_MR_MEDIAN]	= { "t_typical", 17 },
	[REG_MR_AVG]	= { "t_avg", 17 },
	[REG_MR_STDEV]	= { "t_stdev", 17 },
	[REG_MR_P99]	= { "99% percentile", 22 },
	[REG_MR_P99_9]	= { "99.9% percentile", 24 },
};

static bool in_cycles(const struct reg_mr_info *info)
{
	return info->param->report_cycles || !info->mhz;
}

static const char *unit(const struct reg_mr_info *info)
{
	return in_cycles(info) ? "cycles" : "usec";
}

static bool in_nsec(enum reg_mr_step step)
{
	return step >= REG_MR_PIN;
}

static double scaled(const struct reg_mr_info *info, enum reg_mr_step step,
		     double value)
{
	if (in_nsec(step))
		return value / 1000 * (in_cycles(info) ? info->mhz : 1);
	return in_cycles(info) ? value : value / info->mhz;
}

static void print_memory(const struct reg_mr_info *info)
{
	const struct reg_mr_parameters *param = info->param;

	if (info->memory)
		printf(" Page size       : %s\n", page_memory_name(param->page_size));
	else if (param->mmap_file)
		printf(" Memory          : %s, from offset %" PRIu64 " on\n",
		       param->mmap_file, param->mmap_offset);
	else
		printf(" Memory          : dma-buf of vfio's, %s, from offset %" PRIu64 " on\n",
		       param->vfio_dmabuf, param->vfio_dmabuf_offset);
	printf(" Memory mapped   : %" PRIu64 " bytes%s\n", info->mapped,
	       param->one_page ? ", all of them the same one page" : "");
	if (param->page_size == PAGE_MEMORY_THP)
		printf(" Really THP      : %" PRIu64 " bytes\n", info->memory->thp);
}

void reg_mr_print_info(const struct reg_mr_info *info)
{
	const struct reg_mr_parameters *param = info->param;

	printf(LINE "\n");
	printf("                    Memory Registration Latency Test\n");
	printf(" Device          : %s\n", info->devname);
	printf(" MR path         : %s\n", reg_mr_paths_name(param));
	print_memory(info);
	if (param->offset)
		printf(" Offset          : %" PRIu64 " bytes\n", param->offset);
	if (param->threads > 1)
		printf(" Threads         : %u\n", param->threads);
	if (param->duration)
		printf(" Duration        : %" PRIu64 " s\n", param->duration);
	printf(" Warm-up         : %" PRIu64 "\n", param->warmup);
	if (info->mhz)
		printf(" Cycles per usec : %.2f\n", info->mhz);
	printf(LINE "\n");
}

const char *reg_mr_step_name(enum reg_mr_step step)
{
	static const char *const names[REG_MR_STEPS] = {
		[REG_MR_REG]	= "reg",
		[REG_MR_DEREG]	= "dereg",
		[REG_MR_PIN]	= "pin",
		[REG_MR_MAP]	= "map",
		[REG_MR_DRIVER]	= "driver",
	};

	return names[step];
}

static bool compares(const struct reg_mr_info *info)
{
	return info->param->n_paths > 1;
}

void reg_mr_print_header(const struct reg_mr_info *info)
{
	char title[32];
	int i;

	printf(" %-6s ", "#op");
	if (compares(info))
		printf("%-6s ", "#path");
	printf("%-14s %-8s %-11s", "#bytes", "#ranges", "#iterations");
	for (i = 0; i < REG_MR_STATS; i++) {
		snprintf(title, sizeof(title), "%s[%s]", columns[i].title, unit(info));
		printf(" %*s", columns[i].width, title);
	}
	if (info->param->threads > 1)
		printf(" %12s", "reg/sec");
	printf("\n");
}

void reg_mr_print_samples(const struct reg_mr_info *info,
			  const struct reg_mr_result *result,
			  const struct reg_mr_samples *samples)
{
	const char *path = compares(info) ? reg_mr_path_name(result->path) : "";
	const char *space = compares(info) ? " " : "";
	int digits = in_cycles(info) ? 0 : 3, step;
	uint64_t i;

	printf("#");
	for (step = 0; step < reg_mr_steps(info->param); step++)
		printf(", %s%s%s[%s]", path, space, reg_mr_step_name(step),
		       in_nsec(step) ? "nsec" : unit(info));
	printf("\n");
	for (i = 0; i < samples->n; i++) {
		printf("%" PRIu64, i + 1);
		for (step = 0; step < reg_mr_steps(info->param); step++) {
			if (in_nsec(step))
				printf(", %" PRIu64, samples->of[step][i]);
			else
				printf(", %.*f", digits,
				       scaled(info, step, samples->of[step][i]));
		}
		printf("\n");
	}
}

static void print_row_start(const struct reg_mr_info *info, const char *op,
			    const char *path, const struct reg_mr_result *result)
{
	char ranges[24] = "unknown";

	if (result->ranges)
		snprintf(ranges, sizeof(ranges), "%" PRIu64, result->ranges);
	printf(" %-6s ", op);
	if (compares(info))
		printf("%-6s ", path);
	printf("%-14" PRIu64 " %-8s %-11" PRIu64, result->size, ranges, result->iters);
}

static void print_row(const struct reg_mr_info *info, enum reg_mr_step step,
		      const struct reg_mr_result *result)
{
	int i;

	print_row_start(info, reg_mr_step_name(step),
			reg_mr_path_name(result->path), result);
	for (i = 0; i < REG_MR_STATS; i++)
		printf(" %*.2f", columns[i].width,
		       scaled(info, step, result->stats[step].value[i]));
	if (step == REG_MR_REG && info->param->threads > 1 && result->per_second)
		printf(" %12.1f", result->per_second);
	printf("\n");
}

bool reg_mr_ratio(const struct reg_mr_result results[], enum reg_mr_step step,
		  struct reg_mr_stats *ratio)
{
	int i;

	if (results[0].error || results[1].error)
		return false;
	for (i = 0; i < REG_MR_STATS; i++)
		ratio->value[i] = results[1].stats[step].value[i] /
				  results[0].stats[step].value[i];
	return true;
}

static void print_ratio(const struct reg_mr_info *info, enum reg_mr_step step,
			const struct reg_mr_result results[])
{
	struct reg_mr_stats ratio;
	int i;

	if (!reg_mr_ratio(results, step, &ratio))
		return;
	print_row_start(info, reg_mr_step_name(step), "ratio", results);
	for (i = 0; i < REG_MR_STATS; i++) {
		if (isfinite(ratio.value[i]))
			printf(" %*.2f", columns[i].width, ratio.value[i]);
		else
			printf(" %*s", columns[i].width, "-");
	}
	printf("\n");
}

void reg_mr_print_results(const struct reg_mr_info *info,
			  const struct reg_mr_result results[])
{
	const struct reg_mr_result *result, *end = results + info->param->n_paths;
	int step;

	for (result = results; result < end; result++) {
		if (!result->error)
			continue;
		print_row_start(info, "failed", reg_mr_path_name(result->path), result);
		printf(" %s\n", reg_mr_error_name(result->error));
	}
	for (step = 0; step < reg_mr_steps(info->param); step++) {
		for (result = results; result < end; result++)
			if (!result->error)
				print_row(info, step, result);
		if (compares(info))
			print_ratio(info, step, results);
	}
}

const char *reg_mr_error_name(int error)
{
	static const struct {
		int error;
		const char *name;
	} names[] = {
		{ EPERM, "EPERM" }, { EINTR, "EINTR" }, { EIO, "EIO" },
		{ E2BIG, "E2BIG" }, { EAGAIN, "EAGAIN" }, { ENOMEM, "ENOMEM" },
		{ EACCES, "EACCES" }, { EFAULT, "EFAULT" }, { EBUSY, "EBUSY" },
		{ ENODEV, "ENODEV" }, { EINVAL, "EINVAL" }, { ENOSPC, "ENOSPC" },
		{ ERANGE, "ERANGE" }, { ENOSYS, "ENOSYS" },
		{ EOVERFLOW, "EOVERFLOW" }, { EOPNOTSUPP, "EOPNOTSUPP" },
		{ ETIMEDOUT, "ETIMEDOUT" }, { EHWPOISON, "EHWPOISON" },
	};
	static char other[16];
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].error == error)
			return names[i].name;
	snprintf(other, sizeof(other), "%d", error);
	return other;
}
