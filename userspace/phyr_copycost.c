// SPDX-License-Identifier: GPL-2.0
/*
 * What rxe_mr_copy() takes, which is what rxe does with a packet's payload at either
 * end of a transfer: one line of JSON for each kind of memory, size, and way to walk
 * over it. In an icount guest a nanosecond is an instruction, and what the tracer adds
 * is the same for all calls.
 *
 * Each message is one packet, is written from one half of the memory to the other,
 * and the MR is over all of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph.h"
#include "memory.h"
#include "rc.h"

#define MESSAGES 24
#define LEN (8 * MiB)
#define HALF (LEN / 2)

static const char *const traced[] = { "rxe_mr_copy", NULL };
static const char *const kinds[] = { "1G", "2M", "mixed", "thp", "4K-run", "4K" };
static const uint32_t sizes[] = { 8, 64, 256, 1024, 2048, 4096 };

/* Where in its half of the memory a message lies. */
enum walk { SAME, NEXT, PAGES, BORDER, RANDOM, WALKS };

static const char *const walk_names[WALKS] = {
	[SAME] = "same",
	[NEXT] = "next",
	[PAGES] = "pages",
	[BORDER] = "border",
	[RANDOM] = "random",
};

static struct rc rc;
static struct region region;
static struct ibv_mr *mr;

static size_t offset(enum walk walk, struct rng *rng, uint32_t size, unsigned int i)
{
	switch (walk) {
	case SAME:
		return 3 * PAGE_4K;
	case NEXT:
		return PAGE_64K + (size_t)i * size;
	case PAGES:
		return PAGE_64K + i * PAGE_4K;
	case BORDER:
		return PAGE_64K + (i + 1) * PAGE_4K - size / 2;
	default:
		return rng_between(rng, 0, HALF / PAGE_4K - 1) * PAGE_4K;
	}
}

static void write_message(size_t off, uint32_t size)
{
	struct ibv_sge sge = { (uintptr_t)region.addr + off, size, mr->lkey };
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE,
		.wr.rdma = { (uintptr_t)region.addr + HALF + off, mr->rkey },
	};
	struct ibv_send_wr *bad;
	struct ibv_wc wc;

	if (ibv_post_send(rc.qp[0], &wr, &bad))
		die("ibv_post_send failed");
	wc = rc_wait(&rc, 0);
	if (wc.status != IBV_WC_SUCCESS)
		die("completion \"%s\"", ibv_wc_status_str(wc.status));
}

static int by_ns(const void *a, const void *b)
{
	const struct graph_call *x = a, *y = b;

	return (x->ns > y->ns) - (x->ns < y->ns);
}

static void measure(const char *kind, const char *arm, enum walk walk, uint32_t size)
{
	struct rng rng = { 7 };
	struct graph_call *calls;
	size_t n;

	graph_start();
	for (unsigned int i = 0; i < MESSAGES; i++)
		write_message(offset(walk, &rng, size, i), size);
	n = graph_stop(&calls);
	if (n != 2 * MESSAGES)
		die("%zu calls of rxe_mr_copy() for %u messages", n, MESSAGES);
	qsort(calls, n, sizeof(*calls), by_ns);
	printf("{\"kind\": \"%s\", \"bytes\": %u, \"walk\": \"%s\", \"arm\": \"%s\", \"ranges\": %zu, \"least\": %llu, \"median\": %llu}\n",
	       kind, size, walk_names[walk], arm, count_ranges(region.addr, LEN),
	       (unsigned long long)calls[0].ns, (unsigned long long)calls[n / 2].ns);
	free(calls);
}

static void run_arm(const char *kind, const char *arm, int access)
{
	mr = ibv_reg_mr(rc.pd, region.addr, LEN, access | IBV_ACCESS_LOCAL_WRITE |
			IBV_ACCESS_REMOTE_WRITE);
	if (!mr)
		die("ibv_reg_mr: %m");
	for (enum walk walk = 0; walk < WALKS; walk++)
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
			measure(kind, arm, walk, sizes[i]);
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr: %m");
}

int main(int argc, char **argv)
{
	bool stock = argc > 1 && !strcmp(argv[1], "-S");

	if (argc > 2 || (argc == 2 && !stock))
		die("usage: phyr_copycost [-S, if this is a stock kernel]");
	setvbuf(stdout, NULL, _IOLBF, 0);
	rc_open(&rc, "rxe0");
	rc_connect(&rc, IBV_MTU_4096);
	graph_open(traced);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct rng rng = { 1 };
		const char *why = region_create(&region, kinds[i],
						strcmp(kinds[i], "1G") ? LEN : GiB, &rng);

		if (why)
			die("%s: %s", kinds[i], why);
		run_arm(kinds[i], "pages", IBV_ACCESS_PAGE_LIST);
		if (!stock)
			run_arm(kinds[i], "ranges", 0);
		region_destroy(&region);
	}
	graph_close();
	rc_close(&rc);
	return 0;
}
