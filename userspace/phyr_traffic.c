// SPDX-License-Identifier: GPL-2.0
/*
 * Moves data through MRs over memory of every physical make-up, with a real RC
 * queue pair, and checks every byte: those that should have changed, and those
 * around them and everywhere else that should not.
 *
 * Every case is drawn from a seed of its own (seed, path, memory, operation), so
 * that a failure is run again alone with the -s, -p, -k and -o that it prints.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "area.h"

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | \
		IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC | \
		IBV_ACCESS_MW_BIND)
/* What one kmalloc can hold of the page array's 16 bytes for each 4 KiB. */
#define PAGE_LIST_MAX_PAGES (4 * MiB / 16)

static struct options {
	const char *device;
	const char *address;
	const char *kinds;
	const char *ops;
	const char *path;
	uint64_t seed;
	unsigned int rounds;
	bool corrupt;
	bool stock;
} opt = {
	.device = "rxe0",
	.kinds = "4K,4K-run,shmem,thp,thp-split,thp-moved,2M,mixed,few,1G",
	.path = "both",
	.rounds = 30,
};

struct test {
	struct rc rc;
	struct rng rng;
	/* Memory of the kind under test, and small scattered pages to talk to. */
	struct area x;
	struct area y;
	int access;
	char why[160];
};

#define FAIL(t, ...) (snprintf((t)->why, sizeof((t)->why), __VA_ARGS__), false)

static size_t max_length(const struct test *t)
{
	return t->x.mr_len < t->y.mr_len ? t->x.mr_len : t->y.mr_len;
}

static void post(struct test *t, int side, struct ibv_send_wr *wr, bool quiet)
{
	struct ibv_send_wr *bad;
	int err;

	wr->send_flags |= quiet ? 0 : IBV_SEND_SIGNALED;
	err = ibv_post_send(t->rc.qp[side], wr, &bad);
	if (err)
		die("ibv_post_send: %s", strerror(err));
}

static void post_send(struct test *t, int side, struct ibv_send_wr *wr)
{
	post(t, side, wr, false);
}

/* siw sends what is not signalled from the pages themselves. */
static bool is_quiet(struct test *t)
{
	return t->rc.address && rng_next(&t->rng) & 1;
}

static bool wait_for(struct test *t, int side, enum ibv_wc_status want)
{
	struct ibv_wc wc = rc_wait(&t->rc, side);

	if (wc.status == want)
		return true;
	return FAIL(t, "completion \"%s\", expected \"%s\"",
		    ibv_wc_status_str(wc.status), ibv_wc_status_str(want));
}

/* iWARP completes a write when it is sent: a message behind it says it is there. */
static bool has_arrived(struct test *t)
{
	struct ibv_sge nothing = { .addr = t->y.iova[0], .lkey = t->y.mr[0]->lkey };
	struct ibv_recv_wr recv = { .sg_list = &nothing, .num_sge = 1 }, *bad;
	struct ibv_send_wr send = { .opcode = IBV_WR_SEND };

	if (!t->rc.address)
		return true;
	if (ibv_post_recv(t->rc.qp[1], &recv, &bad))
		die("ibv_post_recv failed");
	post_send(t, 0, &send);
	return wait_for(t, 0, IBV_WC_SUCCESS) && wait_for(t, 1, IBV_WC_SUCCESS);
}

static bool check_spans(struct test *t, const struct span *dst, const struct span *src)
{
	if (opt.corrupt)
		span_corrupt(dst, &t->rng);
	if (!span_intact(dst))
		return FAIL(t, "the target differs: %zu bytes at MR offset %zu in %u pieces",
			    dst->hi - dst->lo, dst->lo, dst->n);
	if (src && !span_intact(src))
		return FAIL(t, "the source has changed");
	return true;
}

/* Draws the two ends of a transfer, from x to y or from y to x. */
static void pick_ends(struct test *t, struct span *dst, unsigned int dst_max,
		      struct span *src, unsigned int src_max)
{
	bool to_x = rng_next(&t->rng) & 1;
	size_t len = pick_length(&t->rng, max_length(t));

	*src = span_pick(to_x ? &t->y : &t->x, &t->rng, len, src_max);
	*dst = span_pick(to_x ? &t->x : &t->y, &t->rng, len, dst_max);
}

/* An SGE of no bytes may stand anywhere, and whatever key it has is not looked up. */
static int with_empty(struct test *t, struct ibv_sge *sge, unsigned int n, unsigned int max)
{
	unsigned int at = rng_between(&t->rng, 0, n);

	/* siw on the stock kernel oopses. */
	if (n == max || n == MAX_SEGMENTS || opt.stock || rng_next(&t->rng) & 3)
		return n;
	memmove(&sge[at + 1], &sge[at], (n - at) * sizeof(*sge));
	sge[at] = (struct ibv_sge) { .addr = rng_next(&t->rng), .lkey = rng_next(&t->rng) };
	return n + 1;
}

static bool op_send(struct test *t)
{
	struct ibv_sge ssge[MAX_SEGMENTS], rsge[MAX_SEGMENTS];
	struct ibv_recv_wr recv = { .sg_list = rsge }, *bad;
	struct ibv_send_wr send = { .sg_list = ssge, .opcode = IBV_WR_SEND };
	bool quiet = is_quiet(t);
	struct span src, dst;

	pick_ends(t, &dst, t->rc.max_sge, &src, t->rc.max_sge);
	recv.num_sge = with_empty(t, rsge, span_sges(&dst, rsge), t->rc.max_sge);
	send.num_sge = with_empty(t, ssge, span_sges(&src, ssge), t->rc.max_sge);
	if (ibv_post_recv(t->rc.qp[1], &recv, &bad))
		die("ibv_post_recv failed");
	post(t, 0, &send, quiet);
	if ((!quiet && !wait_for(t, 0, IBV_WC_SUCCESS)) || !wait_for(t, 1, IBV_WC_SUCCESS))
		return false;
	span_copy_shadow(&dst, &src);
	return check_spans(t, &dst, &src);
}

static bool rdma(struct test *t, bool read)
{
	struct ibv_sge sge[MAX_SEGMENTS];
	struct ibv_send_wr wr = {
		.sg_list = sge,
		.opcode = read ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE,
	};
	unsigned int dst_max = read ? t->rc.max_sge_rd : 1;
	unsigned int src_max = read ? 1 : t->rc.max_sge;
	bool quiet = !read && is_quiet(t);
	struct span src, dst, *local = read ? &dst : &src, *remote = read ? &src : &dst;

	pick_ends(t, &dst, dst_max, &src, src_max);
	wr.num_sge = with_empty(t, sge, span_sges(local, sge), read ? dst_max : src_max);
	wr.wr.rdma.remote_addr = span_addr(remote, 0);
	wr.wr.rdma.rkey = remote->area->mr[remote->which]->rkey;
	post(t, 0, &wr, quiet);
	if ((!quiet && !wait_for(t, 0, IBV_WC_SUCCESS)) || (!read && !has_arrived(t)))
		return false;
	span_copy_shadow(&dst, &src);
	return check_spans(t, &dst, &src);
}

static bool op_write(struct test *t)
{
	return rdma(t, false);
}

static bool op_read(struct test *t)
{
	return rdma(t, true);
}

/* Eight bytes at a multiple of eight: the last of a page, the first of a page... */
static struct span pick_atomic(struct area *a, struct rng *rng)
{
	struct span s = span_pick(a, rng, 8, 1);
	size_t misfit = (a->iova[0] + s.seg[0].off) % 8;

	s.seg[0].off -= misfit;
	if (s.seg[0].off > a->mr_len)
		s.seg[0].off += 8;
	s.lo = s.seg[0].off;
	s.hi = s.lo + 8;
	return s;
}

static unsigned char *shadow_at(const struct span *s)
{
	return s->area->shadow + s->area->mr_off + s->seg[0].off;
}

static bool atomic(struct test *t, enum ibv_wr_opcode opcode)
{
	bool x_remote = rng_next(&t->rng) & 1;
	struct span remote = pick_atomic(x_remote ? &t->x : &t->y, &t->rng);
	struct span result = span_pick(x_remote ? &t->y : &t->x, &t->rng, 8, 1);
	struct ibv_sge sge;
	struct ibv_send_wr wr = { .sg_list = &sge, .opcode = opcode };
	uint64_t old, operand = rng_next(&t->rng), new;

	memcpy(&old, shadow_at(&remote), 8);
	wr.num_sge = span_sges(&result, &sge);
	wr.wr.atomic.remote_addr = span_addr(&remote, 0);
	wr.wr.atomic.rkey = remote.area->mr[remote.which]->rkey;
	if (opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		wr.wr.atomic.compare_add = operand;
		new = old + operand;
	} else {
		bool match = rng_next(&t->rng) & 1;

		wr.wr.atomic.compare_add = match ? old : old ^ 1ULL << (operand % 64);
		wr.wr.atomic.swap = operand;
		new = match ? operand : old;
	}
	post_send(t, 0, &wr);
	if (!wait_for(t, 0, IBV_WC_SUCCESS))
		return false;
	memcpy(shadow_at(&remote), &new, 8);
	memcpy(shadow_at(&result), &old, 8);
	return check_spans(t, &remote, &result);
}

static bool op_cas(struct test *t)
{
	return atomic(t, IBV_WR_ATOMIC_CMP_AND_SWP);
}

static bool op_fadd(struct test *t)
{
	return atomic(t, IBV_WR_ATOMIC_FETCH_AND_ADD);
}

static void complete_wr(struct ibv_qp_ex *qp)
{
	int err = ibv_wr_complete(qp);

	if (err)
		die("ibv_wr_complete: %s", strerror(err));
}

static bool op_atomic_write(struct test *t)
{
	struct span dst = pick_atomic(&t->x, &t->rng);
	struct ibv_qp_ex *qp = ibv_qp_to_qp_ex(t->rc.qp[0]);
	uint64_t value = rng_next(&t->rng);

	ibv_wr_start(qp);
	qp->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_atomic_write(qp, dst.area->mr[dst.which]->rkey, span_addr(&dst, 0), &value);
	complete_wr(qp);
	if (!wait_for(t, 0, IBV_WC_SUCCESS))
		return false;
	memcpy(shadow_at(&dst), &value, 8);
	return check_spans(t, &dst, NULL);
}

/* Nothing to see but the completion, and that flushing changes nothing. */
static bool op_flush(struct test *t)
{
	struct span dst = span_pick(&t->x, &t->rng, pick_length(&t->rng, t->x.mr_len), 1);
	struct ibv_qp_ex *qp = ibv_qp_to_qp_ex(t->rc.qp[0]);
	bool whole = rng_next(&t->rng) & 1;

	ibv_wr_start(qp);
	qp->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_flush(qp, dst.area->mr[dst.which]->rkey, span_addr(&dst, 0),
		     whole ? 0 : dst.seg[0].len, IBV_FLUSH_GLOBAL,
		     whole ? IBV_FLUSH_MR : IBV_FLUSH_RANGE);
	complete_wr(qp);
	return wait_for(t, 0, IBV_WC_SUCCESS) && check_spans(t, &dst, NULL);
}

/* A write of y's bytes to @addr, which must end with @want and new QPs if bad. */
static bool write_to(struct test *t, uint32_t rkey, uint64_t addr,
		     const struct span *src, enum ibv_wc_status want)
{
	struct ibv_sge sge[MAX_SEGMENTS];
	struct ibv_send_wr wr = {
		.sg_list = sge,
		.num_sge = span_sges(src, sge),
		.opcode = IBV_WR_RDMA_WRITE,
		.wr.rdma = { .remote_addr = addr, .rkey = rkey },
	};
	bool pass;

	post_send(t, 0, &wr);
	pass = wait_for(t, 0, want);
	if (want != IBV_WC_SUCCESS)
		rc_connect(&t->rc, t->rc.active_mtu);
	return pass;
}

/*
 * A window works while it is bound and is dead once it is not. Its edges are not
 * tried: rxe checks them against the MR's, on the stock kernel too. Nor is a QP
 * destroyed with a window bound to it: there rxe waits 50 s and warns.
 */
static bool op_window(struct test *t)
{
	struct ibv_mw *mw = ibv_alloc_mw(t->rc.pd, IBV_MW_TYPE_2);
	struct span dst = span_pick(&t->x, &t->rng, pick_length(&t->rng, max_length(t)), 1);
	struct span src = span_pick(&t->y, &t->rng, dst.seg[0].len, t->rc.max_sge);
	struct ibv_send_wr wr = { .opcode = IBV_WR_BIND_MW };
	struct ibv_send_wr invalidate = { .opcode = IBV_WR_LOCAL_INV };
	bool pass;

	if (!mw)
		die("ibv_alloc_mw: %m");
	wr.bind_mw.mw = mw;
	wr.bind_mw.rkey = ibv_inc_rkey(mw->rkey);
	wr.bind_mw.bind_info = (struct ibv_mw_bind_info) {
		.mr = dst.area->mr[dst.which],
		.addr = span_addr(&dst, 0),
		.length = dst.seg[0].len,
		.mw_access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE,
	};
	post_send(t, 1, &wr);
	pass = wait_for(t, 1, IBV_WC_SUCCESS) &&
	       write_to(t, wr.bind_mw.rkey, span_addr(&dst, 0), &src, IBV_WC_SUCCESS);
	if (pass) {
		span_copy_shadow(&dst, &src);
		invalidate.invalidate_rkey = wr.bind_mw.rkey;
		post_send(t, 1, &invalidate);
		pass = wait_for(t, 1, IBV_WC_SUCCESS) && check_spans(t, &dst, &src) &&
		       write_to(t, wr.bind_mw.rkey, span_addr(&dst, 0), &src,
				IBV_WC_REM_ACCESS_ERR) &&
		       check_spans(t, &dst, &src);
	}
	if (ibv_dealloc_mw(mw))
		die("ibv_dealloc_mw failed");
	return pass;
}

/* Whether a request on @side completes with success, for as long as that may take. */
static bool succeeds(struct test *t, int side)
{
	struct ibv_wc wc;

	for (int ms = 0; ms < 100; ms++) {
		if (ibv_poll_cq(t->rc.cq[side], 1, &wc) == 1)
			return !wc.status;
		usleep(1000);
	}
	return false;
}

/*
 * iWARP's writes complete whatever comes of them, but the connection is dead after a
 * bad one: a message behind it does not arrive. Addresses may wrap around as well.
 */
static bool stream_bounds(struct test *t)
{
	bool read = rng_next(&t->rng) & 1;
	size_t len = rng_between(&t->rng, 1, 10000);
	struct span local = span_pick(&t->y, &t->rng, len, 1);
	struct span near = span_pick(&t->x, &t->rng, len, 1);
	uint64_t start = t->x.iova[near.which];
	const uint64_t bad[] = {
		start - rng_between(&t->rng, 1, len),
		start + t->x.mr_len - len + rng_between(&t->rng, 1, len),
		-rng_between(&t->rng, 1, len),
	};
	struct ibv_sge sge, nothing = { .addr = t->y.iova[0], .lkey = t->y.mr[0]->lkey };
	struct ibv_recv_wr recv = { .sg_list = &nothing, .num_sge = 1 }, *bad_recv;
	struct ibv_send_wr *bad_send, wr = {
		.sg_list = &sge, .num_sge = span_sges(&local, &sge),
		.opcode = read ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = { bad[rng_between(&t->rng, 0, 2)], t->x.mr[near.which]->rkey },
	};
	struct ibv_send_wr message = { .sg_list = &nothing, .num_sge = 1, .opcode = IBV_WR_SEND };
	bool done, arrived;

	if (ibv_post_recv(t->rc.qp[1], &recv, &bad_recv))
		die("ibv_post_recv failed");
	post_send(t, 0, &wr);
	done = succeeds(t, 0) && read;
	/* It may be dead by now. */
	arrived = !ibv_post_send(t->rc.qp[0], &message, &bad_send) && succeeds(t, 1);
	rc_connect(&t->rc, t->rc.active_mtu);
	if (done || arrived)
		return FAIL(t, "%s of %zu bytes at %#llx, MR from %#llx to %#llx, went through",
			    read ? "a read" : "a write", len,
			    (unsigned long long)wr.wr.rdma.remote_addr, (unsigned long long)start,
			    (unsigned long long)(start + t->x.mr_len));
	return check_spans(t, &near, &local);
}

/* Requests that leave the MR by some bytes at either end must change nothing. */
static bool op_bounds(struct test *t)
{
	static const enum ibv_wr_opcode opcodes[] = {
		IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ,
		IBV_WR_ATOMIC_FETCH_AND_ADD, IBV_WR_ATOMIC_CMP_AND_SWP,
	};
	enum ibv_wr_opcode opcode = opcodes[rng_between(&t->rng, 0, 3)];
	bool is_atomic = opcode != IBV_WR_RDMA_WRITE && opcode != IBV_WR_RDMA_READ;
	size_t len = is_atomic ? 8 : rng_between(&t->rng, 1, 10000);
	struct span local = span_pick(&t->y, &t->rng, len, 1);
	struct span near = span_pick(&t->x, &t->rng, len, 1);
	struct ibv_mr *mr = t->x.mr[near.which];
	uint64_t start = t->x.iova[near.which], end = start + t->x.mr_len, addr;
	struct ibv_sge sge;
	struct ibv_send_wr wr = { .sg_list = &sge, .opcode = opcode };
	bool pass;

	if (t->rc.address)
		return stream_bounds(t);
	if (rng_next(&t->rng) & 1)
		addr = end - len + rng_between(&t->rng, 1, len);
	else
		addr = start - rng_between(&t->rng, 1, len);
	wr.num_sge = span_sges(&local, &sge);
	if (is_atomic) {
		/* The nearest aligned address that is outside by a byte or more. */
		addr = addr < start ? (start - 1) & ~7ULL : (end & ~7ULL);
		wr.wr.atomic.remote_addr = addr;
		wr.wr.atomic.rkey = mr->rkey;
	} else {
		wr.wr.rdma.remote_addr = addr;
		wr.wr.rdma.rkey = mr->rkey;
	}
	post_send(t, 0, &wr);
	pass = wait_for(t, 0, IBV_WC_REM_ACCESS_ERR);
	rc_connect(&t->rc, t->rc.active_mtu);
	return pass && check_spans(t, &near, &local);
}

/* An MR of its own over part of x: its key works, and is dead once it is gone. */
static bool op_dereg(struct test *t)
{
	struct span src = span_pick(&t->y, &t->rng, pick_length(&t->rng, max_length(t)), 1);
	struct span dst = span_pick(&t->x, &t->rng, src.seg[0].len, 1);
	unsigned char *start = t->x.region.addr + t->x.mr_off + dst.seg[0].off;
	struct ibv_mr *mr = ibv_reg_mr(t->rc.pd, start, dst.seg[0].len, t->access);
	uint32_t rkey;

	if (!mr)
		return FAIL(t, "ibv_reg_mr: %s", strerror(errno));
	rkey = mr->rkey;
	if (!write_to(t, rkey, (uintptr_t)start, &src, IBV_WC_SUCCESS))
		return false;
	span_copy_shadow(&dst, &src);
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr: %m");
	return check_spans(t, &dst, &src) &&
	       write_to(t, rkey, (uintptr_t)start, &src, IBV_WC_REM_ACCESS_ERR) &&
	       check_spans(t, &dst, &src);
}

static const struct op {
	const char *name;
	bool (*run)(struct test *t);
	/* Ops that end with a dead QP cost more: fewer rounds of those. */
	unsigned int divide;
} ops[] = {
	{ "send", op_send, 1 },
	{ "write", op_write, 1 },
	{ "read", op_read, 1 },
	{ "cas", op_cas, 1 },
	{ "fadd", op_fadd, 1 },
	{ "atomic-write", op_atomic_write, 1 },
	{ "flush", op_flush, 2 },
	{ "window", op_window, 5 },
	{ "bounds", op_bounds, 5 },
	{ "dereg", op_dereg, 5 },
};

static bool listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	if (!list)
		return true;
	for (const char *p = list; (p = strstr(p, name)); p += len)
		if ((p == list || p[-1] == ',') && (!p[len] || p[len] == ','))
			return true;
	return false;
}

static bool op_supported(const struct test *t, const struct op *op)
{
	if (op->run == op_atomic_write)
		return t->rc.atomic_write;
	if (op->run == op_flush)
		return t->rc.flush;
	if (op->run == op_window)
		return t->rc.windows;
	return true;
}

static void run_op(struct test *t, const char *path, const char *kind, const struct op *op)
{
	unsigned int rounds = (opt.rounds + op->divide - 1) / op->divide;
	char name[64];

	if (!op_supported(t, op)) {
		ktap_skip("the device can't", "%s %s %s", path, kind, op->name);
		return;
	}
	snprintf(name, sizeof(name), "%s %s %s", path, kind, op->name);
	t->rng = rng_named(opt.seed, name);
	rc_connect(&t->rc, rng_between(&t->rng, IBV_MTU_256, t->rc.active_mtu));
	for (unsigned int i = 0; i < rounds; i++) {
		if (op->run(t))
			continue;
		ktap_note("round %u: %s", i, t->why);
		ktap_note("again: phyr_traffic -s %#llx -p %s -k %s -o %s -n %u",
			  (unsigned long long)opt.seed, path, kind, op->name, opt.rounds);
		ktap_result(false, "%s", name);
		return;
	}
	ktap_result(true, "%s", name);
}

struct layout {
	const char *name;
	const char *kind;
	size_t len;
	/* 0: all but some odd bytes at both ends of the region */
	size_t mr_len;
	size_t mr_off;
};

static const struct layout layouts[] = {
	{ "4K", "4K", 4 * MiB, 0, 0 },
	{ "4K-run", "4K-run", 4 * MiB, 0, 0 },
	{ "shmem", "shmem", 4 * MiB, 0, 0 },
	{ "thp", "thp", 8 * MiB, 0, 0 },
	{ "thp-split", "thp-split", 8 * MiB, 0, 0 },
	{ "thp-moved", "thp-moved", 8 * MiB, 0, 0 },
	{ "2M", "2M", 8 * MiB, 0, 0 },
	{ "mixed", "mixed", 8 * MiB, 0, 0 },
	/* Too few ranges for a table of its pages: what is looked for is searched. */
	{ "few", "mixed", 8 * MiB, 4 * MiB, 2 * MiB - 10 * PAGE_4K + 100 },
	{ "1G", "1G", 1 * GiB, 0, 0 },
	{ "1G+4K", "1G", 2 * GiB, 1 * GiB + 4 * KiB, 0 },
	{ "2G", "1G", 2 * GiB, 2 * GiB, 0 },
};

/* siw goes by the address of the memory and does not look at the IOVA. */
static int register_area(struct test *t, struct area *a)
{
	int err = area_register(a, t->rc.pd, t->access, &t->rng);

	if (t->rc.address)
		a->iova[1] = a->iova[0];
	return err;
}

/* Described by its ranges alone, and not by as many entries as it has pages. */
static bool is_searched(struct ibv_mr *mr)
{
	struct ibv_mr_layout layout;

	if (ibv_query_mr_layout(mr, &layout, 0))
		return false;
	ktap_note("%llu ranges, described by %llu bytes", (unsigned long long)layout.num_ranges,
		  (unsigned long long)layout.desc_bytes);
	return layout.desc_bytes < mr->length / PAGE_4K * sizeof(uint64_t);
}

/*
 * Registration itself: that it works or fails as it should, and how many pins it
 * holds, which tells the paths apart: the page array holds one a page, ranges one
 * a folio.
 */
static bool register_x(struct test *t, const struct layout *l, const char *path)
{
	const unsigned char *start = t->x.region.addr + t->x.mr_off;
	size_t first = (uintptr_t)start / PAGE_4K;
	size_t last = ((uintptr_t)start + t->x.mr_len - 1) / PAGE_4K;
	size_t pages = last - first + 1, folio = kind_page_size(l->kind);
	bool odp = !strcmp(path, "odp");
	bool page_list = !odp && (opt.stock || !strcmp(path, "pages"));
	struct pin_counters before = pin_counters_read();
	int err = register_area(t, &t->x);
	uint64_t pins = pins_held_since(before) / ARRAY_SIZE(t->x.mr);
	bool pass;

	ktap_note("%s %s: %zu bytes from MR offset %zu of %s, %zu pages in %zu ranges, %llu pins",
		  path, l->name, t->x.mr_len, t->x.mr_off, l->kind, pages,
		  count_ranges(start, t->x.mr_len), (unsigned long long)pins);
	if (page_list && !t->rc.address && pages > PAGE_LIST_MAX_PAGES) {
		ktap_result(err == ENOMEM, "%s %s is too large for a page array: %s",
			    path, l->name, errno_name(err));
		return false;
	}
	if (err)
		pass = false;
	else if (odp)
		pass = !pins;
	else if (page_list)
		pass = pins == pages;
	else if (!strcmp(l->kind, "mixed"))
		pass = pins < pages;
	else
		pass = pins <= pages * PAGE_4K / folio + 2;
	ktap_result(pass, "%s %s registers: %s", path, l->name, errno_name(err));
	if (!err && l->mr_off && !odp && !page_list)
		ktap_result(is_searched(t->x.mr[0]), "%s %s is searched", path, l->name);
	return !err;
}

static void run_layout(struct test *t, const struct layout *l, const char *path)
{
	size_t mr_off = l->mr_off, mr_len = l->mr_len;
	long long differs;
	const char *why;
	char name[64];

	snprintf(name, sizeof(name), "%s %s", path, l->name);
	t->rng = rng_named(opt.seed, name);
	if (!mr_len) {
		mr_off = rng_between(&t->rng, 1, PAGE_4K - 1);
		mr_len = l->len - mr_off - rng_between(&t->rng, 1, PAGE_4K - 1);
	}
	why = area_create(&t->x, l->kind, l->len, mr_off, mr_len, &t->rng);
	if (why) {
		ktap_skip(why, "%s", name);
		return;
	}
	if (register_x(t, l, path)) {
		for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
			if (listed(opt.ops, ops[i].name))
				run_op(t, path, l->name, &ops[i]);
		differs = area_first_difference(&t->x);
		if (differs >= 0)
			ktap_note("differs at region offset %lld", differs);
		ktap_result(differs < 0, "%s holds what it should everywhere", name);
	}
	area_destroy(&t->x);
}

static void run_path(const char *path)
{
	struct test t = { .access = ACCESS };
	const char *why;
	int err;

	if (opt.address)
		rc_open_cm(&t.rc, opt.device, opt.address);
	else
		rc_open(&t.rc, opt.device);
	if (!strcmp(path, "pages"))
		t.access |= IBV_ACCESS_PAGE_LIST;
	if (!strcmp(path, "odp"))
		t.access |= IBV_ACCESS_ON_DEMAND;
	if (t.rc.flush)
		t.access |= IBV_ACCESS_FLUSH_GLOBAL;
	t.rng = rng_named(opt.seed, path);
	why = area_create(&t.y, "4K", 4 * MiB, 77, 4 * MiB - 177, &t.rng);
	if (why)
		die("no memory to talk to: %s", why);
	err = register_area(&t, &t.y);
	if (err)
		die("can't register 4 MiB: %s", strerror(err));
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++)
		if (listed(opt.kinds, layouts[i].name))
			run_layout(&t, &layouts[i], path);
	ktap_result(area_first_difference(&t.y) < 0,
		    "%s: the other end holds what it should", path);
	area_destroy(&t.y);
	rc_close(&t.rc);
}

static void parse(int argc, char **argv)
{
	int c;

	opt.seed = (uint64_t)getpid() << 32 ^ (uintptr_t)&c;
	while ((c = getopt(argc, argv, "d:a:s:n:p:k:o:BS")) != -1) {
		switch (c) {
		case 'd':
			opt.device = optarg;
			break;
		case 'a':
			opt.address = optarg;
			break;
		case 's':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			opt.rounds = strtoul(optarg, NULL, 0);
			break;
		case 'p':
			opt.path = optarg;
			break;
		case 'k':
			opt.kinds = optarg;
			break;
		case 'o':
			opt.ops = optarg;
			break;
		case 'B':
			opt.corrupt = true;
			break;
		case 'S':
			opt.stock = true;
			break;
		default:
			fputs("phyr_traffic [-d DEVICE [-a ADDRESS]] [-s SEED] [-n ROUNDS]\n"
			      "             [-p phyr|pages|both|odp] [-k MEMORY,...] [-o OPERATION,...]\n"
			      "  -a  connect by rdma_cm: send, write, read and bounds only\n"
			      "  -B  put a wrong byte beside each transfer: every test must fail\n"
			      "  -S  this is a stock kernel: it has the page array only\n", stderr);
			exit(2);
		}
	}
	if (opt.address && !opt.ops)
		opt.ops = "send,write,read,bounds";
}

int main(int argc, char **argv)
{
	static const char * const paths[] = { "phyr", "pages", "odp" };
	struct pin_counters before, after;

	parse(argc, argv);
	ktap_start();
	ktap_note("seed %#llx", (unsigned long long)opt.seed);
	before = pin_counters_read();
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		if ((!strcmp(opt.path, "both") && strcmp(paths[i], "odp")) ||
		    !strcmp(opt.path, paths[i]))
			run_path(paths[i]);
	after = pin_counters_read();
	ktap_note("pins: %llu taken, %llu given back",
		  (unsigned long long)(after.acquired - before.acquired),
		  (unsigned long long)(after.released - before.released));
	ktap_result(after.acquired - before.acquired == after.released - before.released &&
		    (after.acquired > before.acquired || !strcmp(opt.path, "odp")),
		    "every pin was given back");
	return ktap_finish();
}
