/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * Statistics and reports of ib_reg_mr_lat. Samples are cycles as they were
 * measured, and stay whole numbers until they are summed up or printed.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include "reg_mr_report.h"

#define LINE "---------------------------------------------------------------------------------------"

static const struct {
	const char *title;
	int width;
} columns[] = {
	{ "t_min", 17 }, { "t_max", 17 }, { "t_typical", 17 }, { "t_avg", 17 },
	{ "t_stdev", 17 }, { "99% percentile", 22 }, { "99.9% percentile", 24 },
};

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

	stats->min = samples[0];
	stats->max = samples[n - 1];
	stats->median = ((long double)samples[(n - 1) / 2] + samples[n / 2]) / 2;
	stats->avg = sum / n;
	stats->stdev = n > 1 ? sqrtl(squares / (n - 1)) : 0;
	stats->p99 = percentile(samples, n, 990);
	stats->p99_9 = percentile(samples, n, 999);
}

static bool in_cycles(const struct reg_mr_info *info)
{
	return info->param->report_cycles || !info->mhz;
}

static const char *unit(const struct reg_mr_info *info)
{
	return in_cycles(info) ? "cycles" : "usec";
}

static double scaled(const struct reg_mr_info *info, double cycles)
{
	return in_cycles(info) ? cycles : cycles / info->mhz;
}

void reg_mr_print_info(const struct reg_mr_info *info)
{
	const struct reg_mr_parameters *param = info->param;
	const struct page_memory_ctx *memory = info->memory;

	printf(LINE "\n");
	printf("                    Memory Registration Latency Test\n");
	printf(" Device          : %s\n", info->devname);
	printf(" MR path         : %s\n", reg_mr_path_name(param));
	printf(" Page size       : %s\n", page_memory_name(param->page_size));
	printf(" Memory mapped   : %" PRIu64 " bytes%s\n", memory->mapped,
	       memory->flags & PAGE_MEMORY_ONE_PAGE ? ", all of them the same one page" : "");
	if (param->page_size == PAGE_MEMORY_THP)
		printf(" Really THP      : %" PRIu64 " bytes\n", memory->thp);
	printf(" Warm-up         : %" PRIu64 "\n", param->warmup);
	if (info->mhz)
		printf(" Cycles per usec : %.2f\n", info->mhz);
	printf(LINE "\n");
}

void reg_mr_print_header(const struct reg_mr_info *info)
{
	char title[32];
	size_t i;

	printf(" %-6s %-14s %-8s %-11s", "#op", "#bytes", "#ranges", "#iterations");
	for (i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
		snprintf(title, sizeof(title), "%s[%s]", columns[i].title, unit(info));
		printf(" %*s", columns[i].width, title);
	}
	printf("\n");
}

void reg_mr_print_samples(const struct reg_mr_info *info, const uint64_t *reg,
			  const uint64_t *dereg, uint64_t n)
{
	int digits = in_cycles(info) ? 0 : 3;
	uint64_t i;

	printf("#, reg[%s], dereg[%s]\n", unit(info), unit(info));
	for (i = 0; i < n; i++)
		printf("%" PRIu64 ", %.*f, %.*f\n", i + 1,
		       digits, scaled(info, reg[i]),
		       digits, scaled(info, dereg[i]));
}

static void print_row_start(const char *op, const struct reg_mr_result *result)
{
	char ranges[24] = "unknown";

	if (result->ranges)
		snprintf(ranges, sizeof(ranges), "%" PRIu64, result->ranges);
	printf(" %-6s %-14" PRIu64 " %-8s %-11" PRIu64, op, result->size, ranges,
	       result->iters);
}

static void print_row(const struct reg_mr_info *info, const char *op,
		      const struct reg_mr_result *result,
		      const struct reg_mr_stats *stats)
{
	const double values[] = {
		stats->min, stats->max, stats->median, stats->avg,
		stats->stdev, stats->p99, stats->p99_9,
	};
	size_t i;

	print_row_start(op, result);
	for (i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		printf(" %*.2f", columns[i].width, scaled(info, values[i]));
	printf("\n");
}

void reg_mr_print_result(const struct reg_mr_info *info,
			 const struct reg_mr_result *result)
{
	if (result->error) {
		print_row_start("failed", result);
		printf(" %s\n", reg_mr_error_name(result->error));
		return;
	}
	print_row(info, "reg", result, &result->reg);
	print_row(info, "dereg", result, &result->dereg);
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

/* Device names come from outside this program */
static void json_string(FILE *f, const char *key, const char *value)
{
	fprintf(f, "\"%s\": \"", key);
	for (; *value; value++) {
		unsigned char c = *value;

		if (c < ' ')
			fprintf(f, "\\u%04x", c);
		else if (c == '"' || c == '\\')
			fprintf(f, "\\%c", c);
		else
			putc(c, f);
	}
	fprintf(f, "\",\n");
}

static void json_stats(FILE *f, const char *key, double unit,
		       const struct reg_mr_stats *stats)
{
	fprintf(f, "\"%s\": {\"t_min\": %.10g, \"t_max\": %.10g, \"t_typical\": %.10g, "
		"\"t_avg\": %.10g, \"t_stdev\": %.10g, \"percentile_99\": %.10g, "
		"\"percentile_99.9\": %.10g}",
		key, stats->min / unit, stats->max / unit, stats->median / unit,
		stats->avg / unit, stats->stdev / unit, stats->p99 / unit,
		stats->p99_9 / unit);
}

static void json_operation(FILE *f, const struct reg_mr_info *info,
			   const char *key, const struct reg_mr_result *result,
			   const struct reg_mr_stats *stats)
{
	if (result->error) {
		fprintf(f, "\"%s\": null", key);
		return;
	}
	fprintf(f, "\"%s\": {\n", key);
	json_stats(f, "cycles", 1, stats);
	fprintf(f, ",\n");
	if (info->mhz)
		json_stats(f, "usec", info->mhz, stats);
	else
		fprintf(f, "\"usec\": null");
	fprintf(f, "\n}");
}

static void json_info(FILE *f, const struct reg_mr_info *info)
{
	const struct reg_mr_parameters *param = info->param;

	fprintf(f, "\"test_info\": {\n");
	fprintf(f, "\"test\": \"Memory_Registration_Latency_Test\",\n");
	fprintf(f, "\"version\": \"%s\",\n", VERSION);
	json_string(f, "Device", info->devname);
	fprintf(f, "\"page_size\": \"%s\",\n", page_memory_name(param->page_size));
	fprintf(f, "\"mr_path\": \"%s\",\n", reg_mr_path_name(param));
	fprintf(f, "\"mapped_bytes\": %" PRIu64 ",\n", info->memory->mapped);
	if (param->page_size == PAGE_MEMORY_THP)
		fprintf(f, "\"thp_bytes\": %" PRIu64 ",\n", info->memory->thp);
	fprintf(f, "\"one_page\": %s,\n", info->memory->flags & PAGE_MEMORY_ONE_PAGE ? "true" : "false");
	fprintf(f, "\"scattered\": %s,\n", info->memory->flags & PAGE_MEMORY_SCATTERED ? "true" : "false");
	fprintf(f, "\"warmup\": %" PRIu64 ",\n", param->warmup);
	if (info->mhz)
		fprintf(f, "\"mhz\": %.10g\n", info->mhz);
	else
		fprintf(f, "\"mhz\": null\n");
	fprintf(f, "},\n");
}

static void json_result(FILE *f, const struct reg_mr_info *info,
			const struct reg_mr_result *result)
{
	fprintf(f, "{\n\"bytes\": %" PRIu64 ",\n\"iterations\": %" PRIu64 ",\n",
		result->size, result->iters);
	fprintf(f, "\"page_size\": \"%s\",\n\"mr_path\": \"%s\",\n",
		page_memory_name(info->param->page_size),
		reg_mr_path_name(info->param));
	if (result->ranges)
		fprintf(f, "\"ranges\": %" PRIu64 ",\n", result->ranges);
	else
		fprintf(f, "\"ranges\": null,\n");
	if (result->error)
		fprintf(f, "\"error\": \"%s\",\n", reg_mr_error_name(result->error));
	else
		fprintf(f, "\"error\": null,\n");
	json_operation(f, info, "reg", result, &result->reg);
	fprintf(f, ",\n");
	json_operation(f, info, "dereg", result, &result->dereg);
	fprintf(f, "\n}");
}

int reg_mr_write_json(const struct reg_mr_info *info,
		      const struct reg_mr_result *results, unsigned int n)
{
	const char *name = info->param->out_json_file_name;
	FILE *f = fopen(name, "w");
	unsigned int i;
	bool bad;

	if (f) {
		fprintf(f, "{\n");
		json_info(f, info);
		fprintf(f, "\"results\": [\n");
		for (i = 0; i < n; i++) {
			json_result(f, info, &results[i]);
			fprintf(f, i + 1 < n ? ",\n" : "\n");
		}
		fprintf(f, "]\n}\n");
		bad = ferror(f);
		if (!fclose(f) && !bad)
			return 0;
	}
	fprintf(stderr, " --out_json_file: can't write %s: %s\n", name, strerror(errno));
	return -1;
}
