// SPDX-License-Identifier: GPL-2.0
/*
 * Moves data straight from the BAR of one PCI device to that of another, with no
 * buffer of ordinary memory in between: either end of a request is a BAR, as a
 * dma-buf of vfio's or as vfio maps it. Every combination of the two is written and
 * read, in both directions, and compared through mappings of the CPU's own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bar.h"
#include "rc.h"

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE)
#define MAX_BLOCK (64 * KiB)
/* Around what is written to, and not to be written to. */
#define GUARD 64

enum way { DMABUF, MAPPED, WAYS };

static const char *const way_names[WAYS] = { "dma-buf", "mapping" };

static struct options {
	const char *device;
	const char *pci[2];
	int index;
	unsigned int blocks;
	uint64_t seed;
	bool skew;
} opt = {
	.device = "rxe0", .index = 2, .blocks = 32,
};

/* Of QP number i; the IOVA of a byte is its offset in the BAR. */
struct side {
	struct bar bar;
	int fd;
	unsigned char *addr;
	struct ibv_mr *mr[WAYS];
	/* To look at. */
	unsigned char *cpu;
};

struct end {
	const struct side *side;
	struct ibv_mr *mr;
	size_t off;
};

static void side_open(struct side *side, const char *pci, struct ibv_pd *pd)
{
	bar_open_vfio(&side->bar, pci, opt.index);
	if (side->bar.len < MAX_BLOCK + 2 * GUARD)
		die("BAR %d of %s has just %zu bytes: choose another one by -i", opt.index, pci, side->bar.len);
	side->cpu = bar_map(&side->bar, 0, side->bar.len);
	side->addr = bar_map(&side->bar, 0, side->bar.len);
	if (!side->cpu || !side->addr)
		die("mapping %zu bytes of %s: %m", side->bar.len, pci);
	side->fd = bar_dmabuf(&side->bar, 0, side->bar.len, 1);
	side->mr[DMABUF] = ibv_reg_dmabuf_mr(pd, 0, side->bar.len, 0, side->fd, ACCESS);
	if (!side->mr[DMABUF])
		die("ibv_reg_dmabuf_mr of %zu bytes of %s: %m", side->bar.len, pci);
	side->mr[MAPPED] = ibv_reg_mr_iova(pd, side->addr, side->bar.len, 0, ACCESS);
	if (!side->mr[MAPPED])
		die("ibv_reg_mr of %zu bytes of %s: %m", side->bar.len, pci);
}

static void side_close(struct side *side)
{
	for (int way = 0; way < WAYS; way++)
		if (ibv_dereg_mr(side->mr[way]))
			die("ibv_dereg_mr: %m");
	close(side->fd);
	munmap(side->addr, side->bar.len);
	munmap(side->cpu, side->bar.len);
	bar_close(&side->bar);
}

static bool transfer(struct rc *rc, int poster, enum ibv_wr_opcode opcode, const struct end *local,
		     const struct end *remote, size_t len)
{
	struct ibv_sge sge = { local->off, len, local->mr->lkey };
	struct ibv_send_wr *bad, wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = opcode, .send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = { remote->off, remote->mr->rkey },
	};
	struct ibv_wc wc;

	if (ibv_post_send(rc->qp[poster], &wr, &bad))
		die("ibv_post_send failed");
	wc = rc_wait(rc, poster);
	if (!wc.status)
		return true;
	ktap_note("%zu bytes from %#zx to %#zx: %s", len, local->off, remote->off, ibv_wc_status_str(wc.status));
	rc_connect(rc, rc->active_mtu);
	return false;
}

/* @from a BAR @to another, by a request of @poster's, which has either of them. */
static bool block(struct rc *rc, int poster, enum ibv_wr_opcode opcode, const struct end *from,
		  const struct end *to, struct rng *rng, size_t len)
{
	const struct end *local = opcode == IBV_WR_RDMA_WRITE ? from : to;
	const struct end *remote = opcode == IBV_WR_RDMA_WRITE ? to : from;
	unsigned char *around = to->side->cpu + to->off - GUARD;
	unsigned char want[MAX_BLOCK + 2 * GUARD], *data = want + GUARD;

	rng_fill(rng, want, len + 2 * GUARD);
	memcpy(around, want, len + 2 * GUARD);
	rng_fill(rng, data, len);
	memcpy(from->side->cpu + from->off, data, len);
	if (!transfer(rc, poster, opcode, local, remote, len))
		return false;
	if (opt.skew)
		data[rng_between(rng, 0, len - 1)] ^= 1;
	return !memcmp(around, want, len + 2 * GUARD) && !memcmp(from->side->cpu + from->off, data, len);
}

/* The first and the last bytes of either BAR that have room around them come first. */
static size_t offset(const struct side *side, struct rng *rng, unsigned int i, size_t len)
{
	size_t last = side->bar.len - GUARD - len;

	if (i < 4)
		return GUARD;
	return i < 8 ? last : rng_between(rng, GUARD, last);
}

static unsigned int move_blocks(struct rc *rc, const struct side sides[2], enum way way[2], struct rng *rng,
				size_t *bytes)
{
	unsigned int bad = 0;

	for (unsigned int i = 0; i < opt.blocks; i++) {
		enum ibv_wr_opcode opcode = i & 1 ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE;
		size_t len = rng_between(rng, 1, MAX_BLOCK);
		int poster = i >> 1 & 1;
		struct end ends[2];

		for (int s = 0; s < 2; s++)
			ends[s] = (struct end) { &sides[s], sides[s].mr[way[s]], offset(&sides[s], rng, i, len) };
		if (opcode == IBV_WR_RDMA_WRITE)
			bad += !block(rc, poster, opcode, &ends[poster], &ends[!poster], rng, len);
		else
			bad += !block(rc, poster, opcode, &ends[!poster], &ends[poster], rng, len);
		*bytes += len;
	}
	return bad;
}

static void usage(void)
{
	die("usage: phyr_bar2bar -b PCI-ADDRESS -b PCI-ADDRESS [-d DEVICE] [-i BAR] [-n BLOCKS] [-s SEED] [-B]\n"
	    "  -B  expect what did not come, which has to be noticed");
}

static void parse(int argc, char **argv)
{
	int c;

	opt.seed = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
	while ((c = getopt(argc, argv, "d:b:i:n:s:B")) != -1) {
		switch (c) {
		case 'd':
			opt.device = optarg;
			break;
		case 'b':
			if (opt.pci[1])
				usage();
			opt.pci[opt.pci[0] != NULL] = optarg;
			break;
		case 'i':
			opt.index = atoi(optarg);
			break;
		case 'n':
			opt.blocks = strtoul(optarg, NULL, 0);
			break;
		case 's':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 'B':
			opt.skew = true;
			break;
		default:
			usage();
		}
	}
	if (optind != argc || !opt.pci[1] || !opt.blocks)
		usage();
	if (!strcmp(opt.pci[0], opt.pci[1]))
		die("-b: %s twice: vfio gives a device out once, name two", opt.pci[0]);
}

int main(int argc, char **argv)
{
	unsigned int bad, all_bad = 0;
	struct side sides[2] = {};
	size_t bytes = 0;
	struct rng rng;
	struct rc rc;

	parse(argc, argv);
	ktap_start();
	ktap_note("seed=%#llx", (unsigned long long)opt.seed);
	rng = rng_named(opt.seed, "bar2bar");
	rc_open(&rc, opt.device);
	rc_connect(&rc, rc.active_mtu);
	for (int s = 0; s < 2; s++)
		side_open(&sides[s], opt.pci[s], rc.pd);
	for (int i = 0; i < WAYS * WAYS; i++) {
		enum way way[2] = { i / WAYS, i % WAYS };

		bad = move_blocks(&rc, sides, way, &rng, &bytes);
		ktap_result(!bad, "%s and %s: %u blocks from BAR to BAR, written and read: %u wrong",
			    way_names[way[0]], way_names[way[1]], opt.blocks, bad);
		all_bad += bad;
	}
	ktap_note("figure: bar2bar: blocks=%u bytes=%zu mismatches=%u", opt.blocks * WAYS * WAYS, bytes, all_bad);
	for (int s = 0; s < 2; s++)
		side_close(&sides[s]);
	rc_close(&rc);
	return ktap_finish();
}
