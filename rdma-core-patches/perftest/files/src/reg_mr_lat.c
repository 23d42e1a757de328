/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * ib_reg_mr_lat: what ibv_reg_mr() and ibv_dereg_mr() cost.
 *
 * The memory is mapped and touched before anything is measured, and every
 * iteration registers it and deregisters it again, so what is seen is the work
 * on memory that is already there. A sweep over sizes registers the beginning
 * of the same memory. The clock is read around the two verbs and nothing else.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <infiniband/verbs.h>
#include "get_clock.h"
#include "mmap_memory.h"
#include "page_memory.h"
#include "reg_mr_layout.h"
#include "reg_mr_parameters.h"
#include "reg_mr_report.h"
#include "reg_mr_run.h"
#include "vfio_memory.h"

/* With a 64-bit size there are no more powers of two to sweep over */
#define MAX_SIZES 64
#define FIRST_SIZE 4096

struct reg_mr_test {
	struct reg_mr_parameters param;
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct memory_ctx *memory;
	void *buf;
	int dmabuf_fd;
	uint64_t dmabuf_offset;
	uint64_t stride;		/* from one thread's memory to the next's */
	struct reg_mr_result results[MAX_SIZES * REG_MR_MAX_PATHS];
	unsigned int n_results;
};

static struct ibv_context *open_device(const char *name)
{
	struct ibv_context *context;
	struct ibv_device **list, **dev;

	list = ibv_get_device_list(NULL);
	if (!list || !*list) {
		fprintf(stderr, " No IB devices found: load the driver of one, or make a soft one with\n"
			"   rdma link add rxe0 type rxe netdev <interface>\n");
		if (list)
			ibv_free_device_list(list);
		return NULL;
	}

	for (dev = list; *dev && name; dev++)
		if (!strcmp(ibv_get_device_name(*dev), name))
			break;
	if (!*dev) {
		fprintf(stderr, " -d, --ib-dev: IB device %s not found, there is", name);
		for (dev = list; *dev; dev++)
			fprintf(stderr, " %s", ibv_get_device_name(*dev));
		fprintf(stderr, "\n");
		ibv_free_device_list(list);
		return NULL;
	}

	context = ibv_open_device(*dev);
	if (!context)
		fprintf(stderr, " Couldn't open IB device %s: %s\n",
			ibv_get_device_name(*dev), strerror(errno));
	ibv_free_device_list(list);
	return context;
}

static int check_odp(struct ibv_context *context)
{
	struct ibv_device_attr_ex attr = {};

	if (!ibv_query_device_ex(context, NULL, &attr) &&
	    attr.odp_caps.general_caps & IBV_ODP_SUPPORT)
		return 0;
	fprintf(stderr, " --odp: %s has no On Demand Paging, leave it out or use another device\n",
		ibv_get_device_name(context->device));
	return -1;
}

static struct memory_ctx *create_memory(const struct reg_mr_parameters *param)
{
	if (param->mmap_file)
		return mmap_memory_create_at(param->mmap_file, param->mmap_offset);
	if (param->vfio_dmabuf)
		return vfio_memory_create(param->vfio_dmabuf, param->vfio_dmabuf_offset);
	return page_memory_create(param->page_size,
				  (param->one_page ? PAGE_MEMORY_ONE_PAGE : 0) |
				  (param->scattered ? PAGE_MEMORY_SCATTERED : 0));
}

/* Each thread's memory begins as far into a page as any other's */
static int map_memory(struct reg_mr_test *test)
{
	const struct reg_mr_parameters *param = &test->param;
	uint64_t bytes = param->size + param->offset, page_size;
	bool can_init;

	test->memory = create_memory(param);
	if (!test->memory || test->memory->init(test->memory))
		return -1;

	page_size = reg_mr_has_page_size(param) ? page_memory(test->memory)->page_size :
						  (uint64_t)sysconf(_SC_PAGESIZE);
	test->stride = (bytes + page_size - 1) & ~(page_size - 1);
	if (bytes < param->size || test->stride < bytes ||
	    test->stride > UINT64_MAX / param->threads) {
		fprintf(stderr, " -s, --size: there are no so many addresses, ask for less, or for less by --offset or --threads\n");
		return -1;
	}
	return test->memory->allocate_buffer(test->memory, 1,
					     test->stride * param->threads,
					     &test->dmabuf_fd, &test->dmabuf_offset,
					     &test->buf, &can_init);
}

static struct reg_mr_target make_target(const struct reg_mr_test *test, uint64_t size)
{
	return (struct reg_mr_target) {
		.pd = test->pd,
		.addr = (char *)test->buf + test->param.offset,
		.dmabuf_fd = test->dmabuf_fd,
		.dmabuf_offset = test->dmabuf_offset + test->param.offset,
		.stride = test->stride,
		.size = size,
	};
}

/* A small MR, by the first path, to ask the kernel about */
static struct ibv_mr *register_some(const struct reg_mr_test *test)
{
	const struct reg_mr_parameters *param = &test->param;
	struct reg_mr_target target = make_target(test, param->size < FIRST_SIZE ? param->size : FIRST_SIZE);

	return reg_mr_register(&target, target.addr, reg_mr_access(param->paths[0]));
}

/*
 * A kernel that has no ranges takes any access flags for pages: pages would be
 * measured as ranges, or be compared with themselves.
 */
static int check_path(struct reg_mr_test *test)
{
	struct reg_mr_parameters *param = &test->param;
	struct reg_mr_layout layout;
	struct ibv_mr *mr;
	int error;

	if (param->paths[0] != REG_MR_PHYR)
		return 0;
	mr = register_some(test);
	/* What is wrong is said where it is measured */
	if (!mr)
		return 0;
	error = reg_mr_query_layout(mr, &layout);
	ibv_dereg_mr(mr);
	if (error != EOPNOTSUPP)
		return 0;
	if (param->path_given) {
		fprintf(stderr, " --mr_path=%s: the kernel or the driver can't tell whether it registers by ranges: leave it out, use pages, or boot a kernel that has the MR layout query\n",
			reg_mr_paths_name(param));
		return -1;
	}
	param->paths[0] = REG_MR_UNKNOWN;
	return 0;
}

static int set_up(struct reg_mr_test *test)
{
	const struct reg_mr_parameters *param = &test->param;

	test->context = open_device(param->ib_devname);
	if (!test->context ||
	    (param->paths[0] == REG_MR_ODP && check_odp(test->context)))
		return -1;

	test->pd = ibv_alloc_pd(test->context);
	if (!test->pd) {
		fprintf(stderr, " Couldn't allocate PD: %s\n", strerror(errno));
		return -1;
	}
	if (map_memory(test))
		return -1;
	if (param->breakdown && !reg_mr_has_times(register_some(test)))
		return -1;
	return check_path(test);
}

static void tear_down(struct reg_mr_test *test)
{
	if (test->buf)
		test->memory->free_buffer(test->memory, test->dmabuf_fd, test->buf,
					  test->stride * test->param.threads);
	if (test->dmabuf_fd >= 0)
		close(test->dmabuf_fd);
	if (test->memory)
		test->memory->destroy(test->memory);
	if (test->pd)
		ibv_dealloc_pd(test->pd);
	if (test->context)
		ibv_close_device(test->context);
}

/* Of memory that is not made of pages, an MR tells */
static uint64_t ask_for_ranges(const struct reg_mr_test *test,
			       const struct reg_mr_target *target, char *addr)
{
	struct reg_mr_layout layout = {};
	struct ibv_mr *mr;

	mr = reg_mr_register(target, addr, reg_mr_access(test->param.paths[0]));
	if (!mr)
		return 0;
	reg_mr_query_layout(mr, &layout);
	ibv_dereg_mr(mr);
	return layout.ranges;
}

/* As many as the thread has whose memory is made of the most */
static uint64_t count_ranges(const struct reg_mr_test *test,
			     const struct reg_mr_target *target)
{
	uint64_t most = 0, ranges;
	unsigned int i;
	char *addr;

	for (i = 0; i < test->param.threads; i++) {
		addr = target->addr + i * target->stride;
		ranges = reg_mr_has_page_size(&test->param) ?
			 page_memory_ranges(page_memory(test->memory), addr, target->size) :
			 ask_for_ranges(test, target, addr);
		if (ranges > most)
			most = ranges;
	}
	return most;
}

/* By an MR of its own, so that the query is not in the way of what is measured */
static void look_at_layout(const struct reg_mr_target *target,
			   struct reg_mr_result *result)
{
	const char *path = reg_mr_path_name(result->path);
	struct ibv_mr *mr;

	mr = reg_mr_register(target, target->addr, reg_mr_access(result->path));
	if (!mr)
		return;
	result->has_layout = !reg_mr_query_layout(mr, &result->layout);
	ibv_dereg_mr(mr);
	if (result->has_layout && target->dmabuf_fd < 0 &&
	    strcmp(result->layout.path, path) &&
	    strcmp(result->layout.path, "unknown"))
		fprintf(stderr, " Warning: the path is %s, the kernel does not register by %s here\n",
			result->layout.path, path);
}

/* Sorts the samples */
static void make_result(const struct reg_mr_info *info,
			const struct reg_mr_target *target,
			struct reg_mr_samples *samples, struct reg_mr_result *result)
{
	const struct reg_mr_parameters *param = info->param;
	int step;

	result->iters = samples->n;
	result->error = samples->error;
	if (result->error)
		return;

	if (param->report_unsorted)
		reg_mr_print_samples(info, result, samples);
	for (step = 0; step < reg_mr_steps(param); step++)
		reg_mr_stats(&result->stats[step], samples->of[step], samples->n);
	if (param->report_histogram && !param->report_unsorted)
		reg_mr_print_samples(info, result, samples);

	if (info->mhz && samples->elapsed)
		result->per_second = samples->n / (samples->elapsed / info->mhz / 1e6);
	look_at_layout(target, result);
}

static int run_size(struct reg_mr_test *test, const struct reg_mr_info *info,
		    uint64_t size)
{
	const struct reg_mr_parameters *param = &test->param;
	struct reg_mr_result *results = &test->results[test->n_results];
	struct reg_mr_samples samples[REG_MR_MAX_PATHS] = {};
	const struct reg_mr_target target = make_target(test, size);
	uint64_t ranges = count_ranges(test, &target);
	unsigned int path;
	int ret;

	/* Messages on stderr come in their place, also when stdout is a file */
	fflush(stdout);
	ret = reg_mr_run(param, &target, samples);
	if (ret)
		goto out;
	for (path = 0; path < param->n_paths; path++) {
		results[path] = (struct reg_mr_result) {
			.size = size,
			.path = param->paths[path],
			.ranges = ranges,
		};
		make_result(info, &target, &samples[path], &results[path]);
		if (results[path].error)
			ret = -1;
	}
	test->n_results += param->n_paths;

	/* After so many samples the head of the table is out of sight */
	if (param->report_unsorted || param->report_histogram)
		reg_mr_print_header(info);
	reg_mr_print_results(info, results);
out:
	for (path = 0; path < param->n_paths; path++)
		reg_mr_free_samples(&samples[path]);
	return ret;
}

/* On a busy machine perftest's regression may not converge; the next one may. */
static double cpu_mhz(const struct reg_mr_parameters *param)
{
	double mhz = 0;
	int tries;

	for (tries = 0; !mhz && tries < 10; tries++)
		mhz = get_cpu_mhz(param->cpu_freq_f);
	return mhz;
}

static int run(struct reg_mr_test *test)
{
	const struct reg_mr_parameters *param = &test->param;
	struct reg_mr_info info = {
		.param = param,
		.devname = ibv_get_device_name(test->context->device),
		.memory = reg_mr_has_page_size(param) ? page_memory(test->memory) : NULL,
		.mapped = test->stride * param->threads,
	};
	uint64_t size = param->size;
	int ret;

	if (!param->report_cycles || param->out_json || param->threads > 1 ||
	    param->breakdown) {
		info.mhz = cpu_mhz(param);
		if (!info.mhz)
			fprintf(stderr, " Warning: the frequency of the clock is unknown, times are in cycles\n");
	}
	if (param->breakdown && !info.mhz) {
		fprintf(stderr, " --breakdown: its nanoseconds can't be told in cycles then, leave it out\n");
		return -1;
	}

	reg_mr_print_info(&info);
	if (!param->report_unsorted && !param->report_histogram)
		reg_mr_print_header(&info);

	if (param->all && size > FIRST_SIZE)
		size = FIRST_SIZE;
	do {
		ret = run_size(test, &info, size);
		/* The last step may be a smaller one: -s need not be a power of two */
		if (size == param->size)
			break;
		size = size > param->size / 2 ? param->size : size * 2;
	} while (!ret);
	printf("---------------------------------------------------------------------------------------\n");

	if (param->out_json && test->n_results &&
	    reg_mr_write_json(&info, test->results, test->n_results))
		ret = -1;
	return ret;
}

int main(int argc, char *argv[])
{
	struct reg_mr_test test = { .dmabuf_fd = -1 };
	int ret;

	switch (reg_mr_parse(&test.param, argc, argv)) {
	case REG_MR_RUN:
		break;
	case REG_MR_EXIT:
		return 0;
	case REG_MR_BAD_OPTION:
		return 1;
	}

	ret = set_up(&test);
	if (!ret)
		ret = run(&test);
	tear_down(&test);
	return ret ? 1 : 0;
}
