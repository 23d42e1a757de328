// SPDX-License-Identifier: GPL-2.0
/*
 * Writes to persistent memory by RDMA and flushes it, or looks, after the machine
 * was reset, whether it is there. What is written where follows from the seed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rc.h"

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | \
		IBV_ACCESS_FLUSH_GLOBAL | IBV_ACCESS_FLUSH_PERSISTENT)
#define MAX_BLOCK (16 * KiB)
#define BLOCKS 64

static struct options {
	const char *device;
	const char *path;
	size_t len;
	uint64_t seed;
	bool check;
	int error;
} opt = { .device = "rxe0", .len = 64 * MiB, .seed = 1 };

static unsigned char *map_memory(void)
{
	int fd = open(opt.path, O_RDWR | O_CLOEXEC);
	unsigned char *p;

	if (fd < 0)
		die("%s: %m", opt.path);
	p = mmap(NULL, opt.len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("mapping %zu bytes of %s: %m", opt.len, opt.path);
	close(fd);
	return p;
}

/* Each in a part of its own, so that none is written over. */
static size_t block(struct rng *rng, unsigned int i, unsigned char *buf, size_t *len)
{
	size_t part = opt.len / BLOCKS;

	*len = rng_between(rng, 1, MAX_BLOCK);
	rng_fill(rng, buf, *len);
	return i * part + rng_between(rng, 0, part - *len);
}

static bool completes(struct rc *rc)
{
	struct ibv_wc wc = rc_wait(rc, 0);

	if (wc.status)
		ktap_note("%s", ibv_wc_status_str(wc.status));
	return !wc.status;
}

static bool write_and_flush(struct rc *rc, struct ibv_mr *local, struct ibv_mr *mr, size_t off, size_t len)
{
	struct ibv_qp_ex *qp = ibv_qp_to_qp_ex(rc->qp[0]);
	uint64_t addr = (uintptr_t)mr->addr + off;

	ibv_wr_start(qp);
	qp->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_rdma_write(qp, mr->rkey, addr);
	ibv_wr_set_sge(qp, local->lkey, (uintptr_t)local->addr, len);
	if (ibv_wr_complete(qp) || !completes(rc))
		return false;
	ibv_wr_start(qp);
	qp->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_flush(qp, mr->rkey, addr, len, IBV_FLUSH_PERSISTENT, IBV_FLUSH_RANGE);
	return !ibv_wr_complete(qp) && completes(rc);
}

static void write_all(unsigned char *memory)
{
	struct rng rng = rng_named(opt.seed, "pmem");
	unsigned int i, bad = 0;
	struct ibv_mr *local, *mr;
	struct ibv_mr_layout layout;
	struct rc rc;
	size_t len;
	void *buf;
	int err;

	rc_open(&rc, opt.device);
	mr = ibv_reg_mr(rc.pd, memory, opt.len, ACCESS);
	err = mr ? 0 : errno;
	ktap_result(err == opt.error, "%zu bytes of %s: %s", opt.len, opt.path, errno_name(err));
	if (!mr)
		return;
	err = ibv_query_mr_layout(mr, &layout, 0);
	ktap_result(!err && layout.path == IBV_MR_PATH_PHYR && layout.num_ranges == 1, "as one range: %llu",
		    (unsigned long long)layout.num_ranges);
	if (posix_memalign(&buf, PAGE_4K, MAX_BLOCK))
		die("out of memory");
	local = ibv_reg_mr(rc.pd, buf, MAX_BLOCK, IBV_ACCESS_LOCAL_WRITE);
	if (!local)
		die("ibv_reg_mr: %m");
	rc_connect(&rc, rc.active_mtu);
	for (i = 0; i < BLOCKS && !bad; i++) {
		size_t off = block(&rng, i, buf, &len);

		bad += !write_and_flush(&rc, local, mr, off, len);
	}
	ktap_result(!bad, "%u blocks written and flushed", i - bad);
	ibv_dereg_mr(local);
	ibv_dereg_mr(mr);
	rc_close(&rc);
}

static void check_all(const unsigned char *memory)
{
	static unsigned char want[MAX_BLOCK];
	struct rng rng = rng_named(opt.seed, "pmem");
	unsigned int bad = 0;
	size_t len, off;

	for (unsigned int i = 0; i < BLOCKS; i++) {
		off = block(&rng, i, want, &len);
		bad += !!memcmp(memory + off, want, len);
	}
	ktap_result(!bad, "%u blocks of %u are there", BLOCKS - bad, BLOCKS);
}

static void usage(void)
{
	die("usage: phyr_pmem -f FILE [-d DEVICE] [-l BYTES] [-s SEED] [-c | -e ERRNO]\n"
	    "  -c  check what an earlier run with this seed has written\n"
	    "  -e  registering is to fail with this number");
}

int main(int argc, char **argv)
{
	unsigned char *memory;
	int c;

	while ((c = getopt(argc, argv, "d:f:l:s:ce:")) != -1) {
		switch (c) {
		case 'd':
			opt.device = optarg;
			break;
		case 'f':
			opt.path = optarg;
			break;
		case 'l':
			opt.len = strtoull(optarg, NULL, 0);
			break;
		case 's':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 'c':
			opt.check = true;
			break;
		case 'e':
			opt.error = atoi(optarg);
			break;
		default:
			usage();
		}
	}
	if (!opt.path || opt.len < BLOCKS * MAX_BLOCK)
		usage();
	ktap_start();
	ktap_note("seed=%#llx", (unsigned long long)opt.seed);
	memory = map_memory();
	if (opt.check)
		check_all(memory);
	else
		write_all(memory);
	munmap(memory, opt.len);
	return ktap_finish();
}
