// SPDX-License-Identifier: GPL-2.0
/*
 * What a message costs on siw, from ibv_post_send() to its completion, in ticks of
 * the TSC: under icount, instructions. Both ends are in this process and on one CPU,
 * so that sending, TCP and placing the data are all in it. The tenth percentile, since
 * an interrupt of the timer or a turn of the scheduler more is in some of them.
 *
 * Messages go from and to 4 MiB of each kind of memory, and start at every part of a
 * page.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include "memory.h"
#include "rc.h"

#define LENGTH (4 * MiB)
#define ROUNDS 401
/* Odd, so that all places in a page come up, and more than a page. */
#define STEP 70001
#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE)

static const struct {
	const char *name;
	enum ibv_wr_opcode opcode;
	unsigned int flags;
} ops[] = {
	{ "write", IBV_WR_RDMA_WRITE, IBV_SEND_SIGNALED },
	/* Not signalled, sent from the pages themselves; a message behind it ends it. */
	{ "write-pages", IBV_WR_RDMA_WRITE, 0 },
	{ "read", IBV_WR_RDMA_READ, IBV_SEND_SIGNALED },
	{ "send", IBV_WR_SEND, IBV_SEND_SIGNALED },
};

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void wait_for(struct rc *rc, int side)
{
	struct ibv_wc wc = rc_wait(rc, side);

	if (wc.status != IBV_WC_SUCCESS)
		die("completion \"%s\"", ibv_wc_status_str(wc.status));
}

static void post_empty(struct rc *rc, struct ibv_mr *mr)
{
	struct ibv_sge nothing = { .addr = (uintptr_t)mr->addr, .lkey = mr->lkey };
	struct ibv_recv_wr recv = { .sg_list = &nothing, .num_sge = 1 }, *bad_recv;
	struct ibv_send_wr wr = { .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED };
	struct ibv_send_wr *bad;

	if (ibv_post_recv(rc->qp[1], &recv, &bad_recv))
		die("ibv_post_recv failed");
	if (ibv_post_send(rc->qp[0], &wr, &bad))
		die("ibv_post_send failed");
}

static uint64_t message(struct rc *rc, unsigned int op, struct ibv_mr *mr[2], size_t off,
			uint32_t len)
{
	struct ibv_sge sge = { .addr = (uintptr_t)mr[0]->addr + off, .length = len,
			       .lkey = mr[0]->lkey };
	struct ibv_sge rsge = { .addr = (uintptr_t)mr[1]->addr + off, .length = len,
				.lkey = mr[1]->lkey };
	struct ibv_recv_wr recv = { .sg_list = &rsge, .num_sge = 1 }, *bad_recv;
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = ops[op].opcode,
		.send_flags = ops[op].flags,
		.wr.rdma = { .remote_addr = rsge.addr, .rkey = mr[1]->rkey },
	}, *bad;
	bool send = ops[op].opcode == IBV_WR_SEND;
	uint64_t start;

	if (send && ibv_post_recv(rc->qp[1], &recv, &bad_recv))
		die("ibv_post_recv failed");
	start = __rdtsc();
	if (ibv_post_send(rc->qp[0], &wr, &bad))
		die("ibv_post_send failed");
	if (!ops[op].flags)
		post_empty(rc, mr[1]);
	wait_for(rc, 0);
	if (send || !ops[op].flags)
		wait_for(rc, 1);
	return __rdtsc() - start;
}

static void measure(struct rc *rc, unsigned int op, const char *kind, struct ibv_mr *mr[2],
		    uint32_t len)
{
	static uint64_t ticks[ROUNDS];
	size_t off = 0;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		ticks[i] = message(rc, op, mr, off, len);
		off = (off + STEP) % (LENGTH - len);
	}
	qsort(ticks, ROUNDS, sizeof(*ticks), compare);
	printf("%s-%s-%u %llu\n", ops[op].name, kind, len,
	       (unsigned long long)ticks[ROUNDS / 10]);
}

int main(int argc, char **argv)
{
	static const char * const kinds[] = { "4K", "2M" };
	static const uint32_t sizes[] = { 16, 64, 4096, 65536, 1000000 };
	struct rng rng = rng_named(1, "msgcost");
	struct rc rc;

	if (argc != 3)
		die("usage: phyr_msgcost DEVICE ADDRESS");
	rc_open_cm(&rc, argv[1], argv[2]);
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct region region[2];
		struct ibv_mr *mr[2];

		for (int i = 0; i < 2; i++) {
			const char *why = region_create(&region[i], kinds[k], LENGTH, &rng);

			if (why)
				die("no memory of kind %s: %s", kinds[k], why);
			memset(region[i].addr, i, LENGTH);
			mr[i] = ibv_reg_mr(rc.pd, region[i].addr, LENGTH, ACCESS);
			if (!mr[i])
				die("ibv_reg_mr: %m");
		}
		for (size_t op = 0; op < ARRAY_SIZE(ops); op++) {
			rc_connect(&rc, IBV_MTU_1024);
			for (size_t s = 0; s < ARRAY_SIZE(sizes); s++)
				measure(&rc, op, kinds[k], mr, sizes[s]);
		}
		for (int i = 0; i < 2; i++) {
			ibv_dereg_mr(mr[i]);
			region_destroy(&region[i]);
		}
	}
	rc_close(&rc);
	return 0;
}
