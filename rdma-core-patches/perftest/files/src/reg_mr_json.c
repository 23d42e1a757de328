/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/* The JSON report of ib_reg_mr_lat. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include "reg_mr_report.h"

static const char *const names[REG_MR_STATS] = {
	[REG_MR_MIN]	= "t_min",
	[REG_MR_MAX]	= "t_max",
	[REG_MR_MEDIAN]	= "t_typical",
	[REG_MR_AVG]	= "t_avg",
	[REG_MR_STDEV]	= "t_stdev",
	[REG_MR_P99]	= "percentile_99",
	[REG_MR_P99_9]	= "percentile_99.9",
};

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
	int i;

	fprintf(f, "\"%s\": {", key);
	for (i = 0; i < REG_MR_STATS; i++) {
		fprintf(f, "%s\"%s\": ", i ? ", " : "", names[i]);
		/* A ratio may have no finite value, which JSON has no word for */
		if (isfinite(stats->value[i]))
			fprintf(f, "%.10g", stats->value[i] / unit);
		else
			fprintf(f, "null");
	}
	fprintf(f, "}");
}

static void json_step(FILE *f, const struct reg_mr_info *info,
		      const struct reg_mr_result *result, enum reg_mr_step step)
{
	if (result->error) {
		fprintf(f, "\"%s\": null", reg_mr_step_name(step));
		return;
	}
	fprintf(f, "\"%s\": {\n", reg_mr_step_name(step));
	if (step >= REG_MR_PIN) {
		json_stats(f, "nsec", 1, &result->stats[step]);
	} else {
		json_stats(f, "cycles", 1, &result->stats[step]);
		fprintf(f, ",\n");
		if (info->mhz)
			json_stats(f, "usec", info->mhz, &result->stats[step]);
		else
			fprintf(f, "\"usec\": null");
	}
	fprintf(f, "\n}");
}

static void json_page_size(FILE *f, const struct reg_mr_info *info)
{
	if (info->memory)
		fprintf(f, "\"page_size\": \"%s\",\n", page_memory_name(info->param->page_size));
	else
		fprintf(f, "\"page_size\": null,\n");
}

static void json_memory(FILE *f, const struct reg_mr_parameters *param)
{
	if (param->mmap_file) {
		json_string(f, "mmap", param->mmap_file);
		fprintf(f, "\"mmap-offset\": %" PRIu64 ",\n", param->mmap_offset);
	}
	if (param->vfio_dmabuf) {
		json_string(f, "vfio_dmabuf", param->vfio_dmabuf);
		fprintf(f, "\"vfio_dmabuf_offset\": %" PRIu64 ",\n", param->vfio_dmabuf_offset);
	}
}

static void json_info(FILE *f, const struct reg_mr_info *info)
{
	const struct reg_mr_parameters *param = info->param;

	fprintf(f, "\"test_info\": {\n");
	fprintf(f, "\"test\": \"Memory_Registration_Latency_Test\",\n");
	fprintf(f, "\"version\": \"%s\",\n", VERSION);
	json_string(f, "Device", info->devname);
	json_page_size(f, info);
	json_memory(f, param);
	fprintf(f, "\"mr_path\": \"%s\",\n", reg_mr_paths_name(param));
	fprintf(f, "\"mapped_bytes\": %" PRIu64 ",\n", info->mapped);
	if (param->page_size == PAGE_MEMORY_THP)
		fprintf(f, "\"thp_bytes\": %" PRIu64 ",\n", info->memory->thp);
	fprintf(f, "\"one_page\": %s,\n", param->one_page ? "true" : "false");
	fprintf(f, "\"scattered\": %s,\n", param->scattered ? "true" : "false");
	fprintf(f, "\"offset\": %" PRIu64 ",\n", param->offset);
	fprintf(f, "\"threads\": %u,\n", param->threads);
	if (param->duration)
		fprintf(f, "\"duration\": %" PRIu64 ",\n", param->duration);
	else
		fprintf(f, "\"duration\": null,\n");
	fprintf(f, "\"warmup\": %" PRIu64 ",\n", param->warmup);
	if (info->mhz)
		fprintf(f, "\"mhz\": %.10g\n", info->mhz);
	else
		fprintf(f, "\"mhz\": null\n");
	fprintf(f, "},\n");
}

static void json_layout(FILE *f, const struct reg_mr_result *result)
{
	const struct reg_mr_layout *layout = &result->layout;

	if (!result->has_layout) {
		fprintf(f, "\"layout\": null");
		return;
	}
	fprintf(f, "\"layout\": {\"path\": \"%s\", \"ranges\": %" PRIu64
		", \"block_size\": %" PRIu64 ", \"pinned_bytes\": %" PRIu64
		", \"desc_bytes\": %" PRIu64 "}",
		layout->path, layout->ranges, layout->block_size,
		layout->pinned_bytes, layout->desc_bytes);
}

static void json_result(FILE *f, const struct reg_mr_info *info,
			const struct reg_mr_result *result)
{
	int step;

	fprintf(f, "{\n\"bytes\": %" PRIu64 ",\n\"iterations\": %" PRIu64 ",\n",
		result->size, result->iters);
	json_page_size(f, info);
	fprintf(f, "\"mr_path\": \"%s\",\n", reg_mr_path_name(result->path));
	if (result->ranges)
		fprintf(f, "\"ranges\": %" PRIu64 ",\n", result->ranges);
	else
		fprintf(f, "\"ranges\": null,\n");
	if (result->error)
		fprintf(f, "\"error\": \"%s\",\n", reg_mr_error_name(result->error));
	else
		fprintf(f, "\"error\": null,\n");
	if (result->per_second)
		fprintf(f, "\"reg_per_sec\": %.10g", result->per_second);
	else
		fprintf(f, "\"reg_per_sec\": null");
	fprintf(f, ",\n");
	json_layout(f, result);
	for (step = 0; step < reg_mr_steps(info->param); step++) {
		fprintf(f, ",\n");
		json_step(f, info, result, step);
	}
	fprintf(f, "\n}");
}

static void json_ratio(FILE *f, const struct reg_mr_info *info,
		       const struct reg_mr_result results[])
{
	struct reg_mr_stats ratio;
	int step;

	fprintf(f, "{\n\"bytes\": %" PRIu64, results->size);
	for (step = 0; step < reg_mr_steps(info->param); step++) {
		fprintf(f, ",\n");
		if (reg_mr_ratio(results, step, &ratio))
			json_stats(f, reg_mr_step_name(step), 1, &ratio);
		else
			fprintf(f, "\"%s\": null", reg_mr_step_name(step));
	}
	fprintf(f, "\n}");
}

int reg_mr_write_json(const struct reg_mr_info *info,
		      const struct reg_mr_result *results, unsigned int n)
{
	const char *name = info->param->out_json_file_name;
	FILE *f = fopen(name, "w");
	struct stat st = {};
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
		fprintf(f, "]");
		if (info->param->n_paths > 1) {
			fprintf(f, ",\n\"ratios\": [\n");
			for (i = 0; i < n; i += info->param->n_paths) {
				json_ratio(f, info, &results[i]);
				fprintf(f, i + info->param->n_paths < n ? ",\n" : "\n");
			}
			fprintf(f, "]");
		}
		fprintf(f, "\n}\n");
		fstat(fileno(f), &st);
		bad = ferror(f);
		if (!fclose(f) && !bad)
			return 0;
	}
	fprintf(stderr, " --out_json_file: can't write %s: %s: name another one\n",
		name, strerror(errno));
	if (S_ISREG(st.st_mode))
		unlink(name);
	return -1;
}
