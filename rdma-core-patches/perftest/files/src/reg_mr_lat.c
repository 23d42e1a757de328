/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * ib_reg_mr_lat: what ibv_reg_mr() and ibv_dereg_mr() cost.
 *
 * One buffer is mapped and touched before anything is measured, and every
 * iteration registers it and deregisters it again, so what is seen is the work
 * on memory that is already there. A sweep over sizes registers the beginning
 * of the same buffer. The clock is read around the two verbs and nothing else.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <infiniband/verbs.h>
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include "get_clock.h"
#include "page_memory.h"
#include "reg_mr_parameters.h"
#include "reg_mr_report.h"

/* With a 64-bit size there are no more powers of two to sweep over */
#define MAX_RESULTS 64
#define FIRST_SIZE 4096

struct reg_mr_test {
	struct reg_mr_parameters param;
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct memory_ctx *memory;
	void *buf;
	int access;
	uint64_t *reg;
	uint64_t *dereg;
	struct reg_mr_result results[MAX_RESULTS];
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

static int access_flags(const struct reg_mr_parameters *param)
{
	int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
		     IBV_ACCESS_REMOTE_READ;

	if (param->odp)
		access |= IBV_ACCESS_ON_DEMAND;
#ifdef HAVE_ACCESS_PAGE_LIST
	if (param->page_list)
		access |= IBV_ACCESS_PAGE_LIST;
#endif
	return access;
}

/* Written to here, so that no page fault falls between the measurements */
static uint64_t *alloc_samples(uint64_t n)
{
	uint64_t *samples = malloc(n * sizeof(*samples));

	if (samples)
		memset(samples, 0xff, n * sizeof(*samples));
	else
		fprintf(stderr, " -n, --iters: no memory for so many samples\n");
	return samples;
}

static int set_up(struct reg_mr_test *test)
{
	const struct reg_mr_parameters *param = &test->param;
	bool can_init;

	test->context = open_device(param->ib_devname);
	if (!test->context)
		return -1;

	test->pd = ibv_alloc_pd(test->context);
	if (!test->pd) {
		fprintf(stderr, " Couldn't allocate PD: %s\n", strerror(errno));
		return -1;
	}

	test->memory = page_memory_create(param->page_size,
					  (param->one_page ? PAGE_MEMORY_ONE_PAGE : 0) |
					  (param->scattered ? PAGE_MEMORY_SCATTERED : 0));
	if (!test->memory || test->memory->init(test->memory) ||
	    test->memory->allocate_buffer(test->memory, 1, param->size, NULL,
					  NULL, &test->buf, &can_init))
		return -1;

	test->access = access_flags(param);
	test->reg = alloc_samples(param->iters);
	test->dereg = alloc_samples(param->iters);
	return test->reg && test->dereg ? 0 : -1;
}

static void tear_down(struct reg_mr_test *test)
{
	free(test->dereg);
	free(test->reg);
	if (test->buf)
		test->memory->free_buffer(test->memory, -1, test->buf,
					  test->param.size);
	if (test->memory)
		test->memory->destroy(test->memory);
	if (test->pd)
		ibv_dealloc_pd(test->pd);
	if (test->context)
		ibv_close_device(test->context);
}

static int failed(const char *verb, uint64_t size, uint64_t iters, int error)
{
	struct rlimit limit;

	fprintf(stderr, " %s of %" PRIu64 " bytes failed after %" PRIu64 " iterations: %s (%s)\n",
		verb, size, iters, strerror(error), reg_mr_error_name(error));
	if (error == ENOMEM && !getrlimit(RLIMIT_MEMLOCK, &limit) &&
	    limit.rlim_cur < size)
		fprintf(stderr, " The limit of locked memory is %" PRIu64 " bytes: look at ulimit -l\n",
			(uint64_t)limit.rlim_cur);
	return error;
}

/* One registration and deregistration; returns 0 or an errno */
static int register_once(const struct reg_mr_test *test, uint64_t size,
			 uint64_t done, uint64_t *reg, uint64_t *dereg)
{
	cycles_t start, end;
	struct ibv_mr *mr;
	int error;

	start = get_cycles();
	mr = ibv_reg_mr(test->pd, test->buf, size, test->access);
	end = get_cycles();
	if (!mr)
		return failed("ibv_reg_mr", size, done, errno);
	*reg = end - start;

	start = get_cycles();
	error = ibv_dereg_mr(mr);
	end = get_cycles();
	if (error)
		return failed("ibv_dereg_mr", size, done, error);
	*dereg = end - start;
	return 0;
}

static int measure(const struct reg_mr_test *test, struct reg_mr_result *result)
{
	uint64_t i, ignored;
	int error;

	for (i = 0; i < test->param.warmup; i++) {
		error = register_once(test, result->size, 0, &ignored, &ignored);
		if (error)
			return error;
	}

	for (i = 0; i < test->param.iters; i++) {
		error = register_once(test, result->size, i, &test->reg[i],
				      &test->dereg[i]);
		if (error)
			return error;
		result->iters = i + 1;
	}
	return 0;
}

static int run_size(struct reg_mr_test *test, const struct reg_mr_info *info,
		    uint64_t size)
{
	const struct reg_mr_parameters *param = &test->param;
	struct reg_mr_result *result = &test->results[test->n_results++];

	/* Messages on stderr come in their place, also when stdout is a file */
	fflush(stdout);
	result->size = size;
	result->ranges = page_memory_ranges(info->memory, test->buf, size);
	result->error = measure(test, result);
	if (!result->error) {
		if (param->report_unsorted)
			reg_mr_print_samples(info, test->reg, test->dereg, result->iters);
		reg_mr_stats(&result->reg, test->reg, result->iters);
		reg_mr_stats(&result->dereg, test->dereg, result->iters);
		if (param->report_histogram && !param->report_unsorted)
			reg_mr_print_samples(info, test->reg, test->dereg, result->iters);
	}
	/* After so many samples the head of the table is out of sight */
	if (param->report_unsorted || param->report_histogram)
		reg_mr_print_header(info);
	reg_mr_print_result(info, result);
	return result->error ? -1 : 0;
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
		.memory = page_memory(test->memory),
	};
	uint64_t size = param->size;
	int ret;

	if (!param->report_cycles || param->out_json) {
		info.mhz = cpu_mhz(param);
		if (!info.mhz)
			fprintf(stderr, " Warning: the frequency of the clock is unknown, times are in cycles\n");
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

	if (param->out_json &&
	    reg_mr_write_json(&info, test->results, test->n_results))
		ret = -1;
	return ret;
}

int main(int argc, char *argv[])
{
	struct reg_mr_test test = {};
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
