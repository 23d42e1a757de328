// SPDX-License-Identifier: GPL-2.0
/*
 * Re-registers MRs: with other memory, another address and length, other access
 * flags, another PD, all of it, under traffic, and in ways that have to fail. What
 * an MR is good for is tried by RDMA writes and reads, what it holds by the pins.
 */
#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"
#include "rereg.h"

#define MAX_LEN (4 * MiB)
#define CHUNK (64 * KiB)
/* Seconds that giving up an MR may take on a slow and busy machine. */
#define PROMPT 20

static struct options {
	const char *device;
	const char *path;
	uint64_t seed;
	unsigned int rounds;
	const char *corrupt;
} opt = {
	.device = "rxe0",
	.path = "both",
	.rounds = 50,
	.corrupt = "",
};

struct test {
	struct rc rc;
	struct rng rng;
	struct ibv_pd *other_pd;
	int access;
	const char *path;
	/* What is written from and read to. */
	unsigned char *local;
	struct ibv_mr *local_mr;
	/* Two buffers to register. */
	struct region a;
	struct region b;
	struct pin_counters pins;
};

int rereg(struct ibv_mr *mr, int flags, struct ibv_pd *pd, void *addr, size_t len, int access)
{
	errno = 0;
	if (!ibv_rereg_mr(mr, flags, pd, addr, len, access))
		return 0;
	return errno ? errno : EPROTO;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

/* Moves @len bytes between the local buffer and @addr; new QPs if that fails. */
static enum ibv_wc_status move(struct test *t, const struct ibv_mr *mr, uint64_t addr,
			       size_t len, bool read)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)t->local,
		.length = len,
		.lkey = t->local_mr->lkey,
	};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = read ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE,
		.wr.rdma = { .remote_addr = addr, .rkey = mr->rkey },
	}, *bad;
	struct ibv_wc wc;

	if (ibv_post_send(t->rc.qp[0], &wr, &bad))
		die("ibv_post_send failed");
	wc = rc_wait(&t->rc, 0);
	if (wc.status != IBV_WC_SUCCESS)
		rc_connect(&t->rc, t->rc.active_mtu);
	return wc.status;
}

/* Bytes that are written arrive at @mem and nowhere near, and can be read. */
static bool moves_bytes(struct test *t, const struct ibv_mr *mr, uint64_t iova,
			unsigned char *mem, size_t len)
{
	static unsigned char want[CHUNK];
	enum ibv_wc_status status;

	rng_fill(&t->rng, want, len);
	memcpy(t->local, want, len);
	status = move(t, mr, iova, len, false);
	if (status != IBV_WC_SUCCESS || memcmp(mem, want, len)) {
		ktap_note("writing %zu bytes to %#llx: %s", len, (unsigned long long)iova,
			  status ? ibv_wc_status_str(status) : "wrong bytes");
		return false;
	}
	rng_fill(&t->rng, want, len);
	memcpy(mem, want, len);
	memset(t->local, 0, len);
	status = move(t, mr, iova, len, true);
	if (status != IBV_WC_SUCCESS || memcmp(t->local, want, len)) {
		ktap_note("reading %zu bytes at %#llx: %s", len, (unsigned long long)iova,
			  status ? ibv_wc_status_str(status) : "wrong bytes");
		return false;
	}
	return true;
}

static bool refuses(struct test *t, const struct ibv_mr *mr, uint64_t iova, size_t len, bool read)
{
	enum ibv_wc_status status = move(t, mr, iova, len, read);

	if (status != IBV_WC_REM_ACCESS_ERR)
		ktap_note("%s %zu bytes at %#llx: %s", read ? "reading" : "writing", len,
			  (unsigned long long)iova, ibv_wc_status_str(status));
	return status == IBV_WC_REM_ACCESS_ERR;
}

static uint64_t pages_of(const unsigned char *mem, size_t len)
{
	return ((uintptr_t)mem + len - 1) / PAGE_4K - (uintptr_t)mem / PAGE_4K + 1;
}

/* @mr is good for [mem, mem + len) at @iova and nothing else, and is all that is pinned. */
static bool covers(struct test *t, const struct ibv_mr *mr, uint64_t iova,
		   unsigned char *mem, size_t len, bool edges)
{
	size_t chunk = len < CHUNK ? len : CHUNK;
	size_t middle = rng_between(&t->rng, 0, len - chunk);
	uint64_t pins = pins_held_since(t->pins);
	bool pages = !strcmp(t->path, "pages");

	/* How many pages a pin covers depends on the memory, but 4 KiB are the least. */
	if (pages ? pins != pages_of(mem, len) : pins > pages_of(mem, len) || !pins) {
		ktap_note("%llu pins for %llu pages", (unsigned long long)pins,
			  (unsigned long long)pages_of(mem, len));
		return false;
	}
	return moves_bytes(t, mr, iova, mem, chunk) &&
	       moves_bytes(t, mr, iova + middle, mem + middle, chunk) &&
	       moves_bytes(t, mr, iova + len - chunk, mem + len - chunk, chunk) &&
	       (!edges || (refuses(t, mr, iova + len - 1, 2, false) &&
			   refuses(t, mr, iova - 1, 2, true)));
}

static struct ibv_mr *reg(struct test *t, void *addr, size_t len)
{
	struct ibv_mr *mr = ibv_reg_mr(t->rc.pd, addr, len, t->access);

	if (!mr)
		die("ibv_reg_mr: %m");
	return mr;
}

static bool dereg(struct test *t, struct ibv_mr *mr)
{
	uint64_t pins;

	if (ibv_dereg_mr(mr)) {
		ktap_note("ibv_dereg_mr: %m");
		return false;
	}
	pins = pins_held_since(t->pins);
	if (pins)
		ktap_note("%llu pins are left", (unsigned long long)pins);
	return !pins;
}

/* Any part of any memory after any other. */
static bool translation(struct test *t)
{
	static const char * const kinds[] = { "4K", "thp", "2M", "shmem", "thp-moved" };
	struct ibv_mr *mr = reg(t, t->a.addr, PAGE_4K);
	uint32_t key = mr->rkey;
	bool pass = true;

	for (unsigned int i = 0; pass && i < opt.rounds; i++) {
		const char *kind = kinds[rng_between(&t->rng, 0, ARRAY_SIZE(kinds) - 1)];
		struct region r;
		const char *why = region_create(&r, kind, MAX_LEN, &t->rng);
		size_t off = rng_between(&t->rng, 0, MAX_LEN - 1);
		size_t len = rng_between(&t->rng, 1, MAX_LEN - off);
		int err;

		if (why)
			die("no %s memory: %s", kind, why);
		err = rereg(mr, CHANGE_TRANS, NULL, r.addr + off, len, 0);
		pass = !err && mr->rkey == key &&
		       covers(t, mr, (uintptr_t)r.addr + off, r.addr + off, len, i < 4);
		if (!pass)
			ktap_note("round %u: %zu bytes at %zu of %s: %s", i, len, off, kind,
				  errno_name(err));
		/* The MR keeps the pages; the address may lead elsewhere in the next round. */
		region_destroy(&r);
	}
	return dereg(t, mr) && pass;
}

static bool other_iova(struct test *t)
{
	uint64_t iova = 0x123456789000 + ((uintptr_t)t->a.addr & 0xfff);
	struct ibv_mr *mr = ibv_reg_mr_iova(t->rc.pd, t->a.addr, CHUNK, iova, t->access);
	bool pass;

	if (!mr)
		die("ibv_reg_mr_iova: %m");
	pass = covers(t, mr, iova, t->a.addr, CHUNK, false) &&
	       !rereg(mr, CHANGE_TRANS, NULL, t->b.addr, 2 * CHUNK, 0) &&
	       covers(t, mr, (uintptr_t)t->b.addr, t->b.addr, 2 * CHUNK, true) &&
	       refuses(t, mr, iova, 1, false);
	return dereg(t, mr) && pass;
}

static bool access_flags(struct test *t)
{
	struct ibv_mr *mr = reg(t, t->a.addr, CHUNK);
	uint64_t iova = (uintptr_t)t->a.addr;
	bool pass;

	pass = !rereg(mr, CHANGE_ACCESS, NULL, NULL, 0, IBV_ACCESS_LOCAL_WRITE) &&
	       refuses(t, mr, iova, 8, false) && refuses(t, mr, iova, 8, true) &&
	       !rereg(mr, CHANGE_ACCESS, NULL, NULL, 0, IBV_ACCESS_REMOTE_READ) &&
	       refuses(t, mr, iova, 8, false) &&
	       move(t, mr, iova, 8, true) == IBV_WC_SUCCESS &&
	       !rereg(mr, CHANGE_ACCESS, NULL, NULL, 0, t->access) &&
	       covers(t, mr, iova, t->a.addr, CHUNK, true);
	return dereg(t, mr) && pass;
}

/* Pages pinned for reading can't be made writable, but others can be pinned. */
static bool more_access(struct test *t)
{
	struct ibv_mr *mr = ibv_reg_mr(t->rc.pd, t->a.addr, CHUNK,
				       IBV_ACCESS_REMOTE_READ | (t->access & IBV_ACCESS_PAGE_LIST));
	uint64_t iova = (uintptr_t)t->a.addr;
	bool pass;
	int err;

	if (!mr)
		die("ibv_reg_mr: %m");
	err = rereg(mr, CHANGE_ACCESS, NULL, NULL, 0, t->access);
	pass = err == EACCES && move(t, mr, iova, 8, true) == IBV_WC_SUCCESS &&
	       refuses(t, mr, iova, 8, false) &&
	       !rereg(mr, CHANGE_ACCESS | CHANGE_TRANS, NULL, t->a.addr, CHUNK, t->access) &&
	       covers(t, mr, iova, t->a.addr, CHUNK, true);
	if (err != EACCES)
		ktap_note("expected EACCES, got %s", errno_name(err));
	return dereg(t, mr) && pass;
}

static bool pd(struct test *t)
{
	struct ibv_mr *mr = reg(t, t->a.addr, CHUNK);
	struct ibv_pd *other = ibv_alloc_pd(t->rc.ctx);
	uint64_t iova = (uintptr_t)t->a.addr;
	bool pass;

	if (!other)
		die("ibv_alloc_pd: %m");
	pass = !rereg(mr, CHANGE_PD, other, NULL, 0, 0) &&
	       refuses(t, mr, iova, 8, false) &&
	       ibv_dealloc_pd(other) == EBUSY &&
	       !rereg(mr, CHANGE_PD, t->rc.pd, NULL, 0, 0) &&
	       covers(t, mr, iova, t->a.addr, CHUNK, true);
	if (ibv_dealloc_pd(other)) {
		ktap_note("the PD that the MR has left is in use");
		pass = false;
	}
	return dereg(t, mr) && pass;
}

static bool everything(struct test *t)
{
	const int all = CHANGE_TRANS | CHANGE_PD | CHANGE_ACCESS;
	struct ibv_mr *mr = ibv_reg_mr(t->other_pd, t->a.addr, CHUNK, 0);
	bool pass;

	if (!mr)
		die("ibv_reg_mr: %m");
	pass = !rereg(mr, all, t->rc.pd, t->b.addr + 5, 3 * CHUNK, t->access) &&
	       covers(t, mr, (uintptr_t)t->b.addr + 5, t->b.addr + 5, 3 * CHUNK, true) &&
	       !rereg(mr, all, t->other_pd, t->a.addr, CHUNK, t->access) &&
	       refuses(t, mr, (uintptr_t)t->a.addr, 8, false) &&
	       /* Just the same once more, so that it is left as it was. */
	       !rereg(mr, all, t->rc.pd, t->a.addr, CHUNK, t->access) &&
	       covers(t, mr, (uintptr_t)t->a.addr, t->a.addr, CHUNK, true);
	return dereg(t, mr) && pass;
}

struct limited {
	struct test *t;
	struct ibv_mr *mr;
	int err;
};

/* Capabilities are a thread's own, and the device's file wants its opener's. */
static void *without_ipc_lock(void *arg)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	struct limited *l = arg;

	if (syscall(SYS_capget, &header, data))
		die("capget: %m");
	data[0].effective &= ~(1U << CAP_IPC_LOCK);
	if (syscall(SYS_capset, &header, data))
		die("capset: %m");
	l->err = rereg(l->mr, CHANGE_TRANS, NULL, l->t->b.addr, 2 * CHUNK, 0);
	return NULL;
}

/* What the old MR holds counts as well while the new one is made. */
static int over_limit(struct test *t, struct ibv_mr *mr)
{
	struct rlimit was, limit = { .rlim_max = RLIM_INFINITY };
	struct limited limited = { t, mr, 0 };
	pthread_t thread;

	limit.rlim_cur = vmpin_kb() * KiB + CHUNK;
	if (getrlimit(RLIMIT_MEMLOCK, &was) || setrlimit(RLIMIT_MEMLOCK, &limit))
		die("can't limit locked memory: %m");
	if (pthread_create(&thread, NULL, without_ipc_lock, &limited))
		die("pthread_create: %m");
	pthread_join(thread, NULL);
	if (setrlimit(RLIMIT_MEMLOCK, &was))
		die("can't lift the limit: %m");
	return limited.err;
}

static int unmapped(struct test *t, struct ibv_mr *mr)
{
	(void)t;
	return rereg(mr, CHANGE_TRANS, NULL, (void *)0x10000, CHUNK, 0);
}

static int hole_at_end(struct test *t, struct ibv_mr *mr)
{
	return rereg(mr, CHANGE_TRANS, NULL, t->b.addr, 2 * MAX_LEN, 0);
}

static int end_wraps(struct test *t, struct ibv_mr *mr)
{
	return rereg(mr, CHANGE_TRANS, NULL, t->b.addr, -(uintptr_t)t->b.addr + PAGE_4K, 0);
}

static int too_large(struct test *t, struct ibv_mr *mr)
{
	return rereg(mr, CHANGE_TRANS, NULL, t->b.addr, 1UL << 44, 0);
}

static int read_only(struct test *t, struct ibv_mr *mr)
{
	void *p = mmap(NULL, CHUNK, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err = rereg(mr, CHANGE_TRANS, NULL, p, CHUNK, 0);

	(void)t;
	munmap(p, CHUNK);
	return err;
}

static int remote_write_alone(struct test *t, struct ibv_mr *mr)
{
	return rereg(mr, CHANGE_TRANS | CHANGE_ACCESS, NULL, t->b.addr, CHUNK,
		     IBV_ACCESS_REMOTE_WRITE);
}

static int pd_and_unmapped(struct test *t, struct ibv_mr *mr)
{
	return rereg(mr, CHANGE_TRANS | CHANGE_PD | CHANGE_ACCESS, t->other_pd,
		     (void *)0x10000, CHUNK, t->access);
}

static int to_on_demand(struct test *t, struct ibv_mr *mr)
{
	return rereg(mr, CHANGE_TRANS | CHANGE_ACCESS, NULL, t->b.addr, CHUNK,
		     t->access | IBV_ACCESS_ON_DEMAND);
}

static int pinned_to_on_demand(struct test *t, struct ibv_mr *mr)
{
	return rereg(mr, CHANGE_ACCESS, NULL, NULL, 0, t->access | IBV_ACCESS_ON_DEMAND);
}

/* Of memory that isn't persistent, which has no name in verbs.h of rdma-core 56. */
static int to_flush_persistent(struct test *t, struct ibv_mr *mr)
{
	return rereg(mr, CHANGE_ACCESS, NULL, NULL, 0, t->access | 1 << 9);
}

static int with_window(struct test *t, struct ibv_mr *mr)
{
	struct ibv_mw *mw = ibv_alloc_mw(t->rc.pd, IBV_MW_TYPE_1);
	struct ibv_mw_bind bind = {
		.send_flags = IBV_SEND_SIGNALED,
		.bind_info = {
			.mr = mr,
			.addr = (uintptr_t)mr->addr,
			.length = mr->length,
			.mw_access_flags = IBV_ACCESS_REMOTE_WRITE,
		},
	};
	int flags[] = { CHANGE_TRANS, CHANGE_ACCESS, CHANGE_PD };
	int err = 0;

	if (!mw || ibv_bind_mw(t->rc.qp[0], mw, &bind) ||
	    rc_wait(&t->rc, 0).status != IBV_WC_SUCCESS)
		die("can't bind a memory window");
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		err = rereg(mr, flags[i], t->other_pd, t->b.addr, CHUNK,
			    flags[i] & CHANGE_ACCESS ? t->access : 0);
		if (err != EBUSY)
			break;
	}
	if (ibv_dealloc_mw(mw))
		die("ibv_dealloc_mw: %m");
	return err;
}

static const struct failure {
	const char *name;
	int (*rereg)(struct test *t, struct ibv_mr *mr);
	int err;
} failures[] = {
	{ "nothing mapped there", unmapped, EFAULT },
	{ "a hole at its end", hole_at_end, EFAULT },
	{ "an end that wraps", end_wraps, EINVAL },
	{ "more pages than 32 bits count", too_large, EINVAL },
	{ "read-only memory", read_only, EFAULT },
	{ "more than may be locked", over_limit, ENOMEM },
	{ "remote writing without local", remote_write_alone, EINVAL },
	{ "another PD, and nothing mapped", pd_and_unmapped, EFAULT },
	{ "memory on demand", to_on_demand, EOPNOTSUPP },
	{ "pinned memory on demand", pinned_to_on_demand, EOPNOTSUPP },
	{ "flushing to memory that isn't persistent", to_flush_persistent, EINVAL },
	{ "a memory window bound to it", with_window, EBUSY },
};

/* Whatever goes wrong, the MR is what it was. */
static bool fails(struct test *t, const struct failure *f)
{
	struct ibv_mr *mr = reg(t, t->a.addr + 3, CHUNK);
	int err = f->rereg(t, mr);
	bool pass = err == f->err;

	if (!pass)
		ktap_note("expected %s, got %s", errno_name(f->err), errno_name(err));
	pass &= covers(t, mr, (uintptr_t)t->a.addr + 3, t->a.addr + 3, CHUNK, true);
	/* And can still become something else. */
	pass &= !rereg(mr, CHANGE_TRANS, NULL, t->b.addr, CHUNK, 0) &&
		covers(t, mr, (uintptr_t)t->b.addr, t->b.addr, CHUNK, false);
	return dereg(t, mr) && pass;
}

/*
 * A responder that has no place for its completion stops in the middle of a packet.
 * The MR that the packet was for can be changed and given up all the same.
 */
static bool queue_overflow(struct test *t)
{
	struct ibv_mr *mr = reg(t, t->a.addr, CHUNK);
	struct ibv_sge sge = { .addr = (uintptr_t)t->local, .length = 8, .lkey = t->local_mr->lkey };
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
		.wr.rdma = { .remote_addr = (uintptr_t)mr->addr, .rkey = mr->rkey },
	}, *bad;
	struct ibv_recv_wr recv = { 0 }, *bad_recv;
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr = { 0 };
	double start;
	bool pass;

	for (int i = 0; i < t->rc.cq[1]->cqe; i++) {
		if (ibv_post_recv(t->rc.qp[1], &recv, &bad_recv) ||
		    ibv_post_send(t->rc.qp[0], &wr, &bad))
			die("can't post");
		if (rc_wait(&t->rc, 0).status != IBV_WC_SUCCESS)
			die("no write with immediate data");
	}
	if (ibv_post_recv(t->rc.qp[1], &recv, &bad_recv) || ibv_post_send(t->rc.qp[0], &wr, &bad))
		die("can't post");
	start = now();
	do {
		if (ibv_query_qp(t->rc.qp[1], &attr, IBV_QP_STATE, &init))
			die("ibv_query_qp: %m");
	} while (attr.qp_state != IBV_QPS_ERR && now() < start + PROMPT);
	start = now();
	pass = !rereg(mr, CHANGE_TRANS, NULL, t->b.addr, CHUNK, 0) && dereg(t, mr);
	ktap_note("QP state %d; changing and giving up the MR took %.2f s", attr.qp_state,
		  now() - start);
	pass &= attr.qp_state == IBV_QPS_ERR && now() < start + PROMPT;
	rc_connect(&t->rc, t->rc.active_mtu);
	return pass;
}

static enum ibv_wc_status post(struct test *t, struct ibv_send_wr *wr)
{
	struct ibv_send_wr *bad;

	if (ibv_post_send(t->rc.qp[0], wr, &bad))
		die("ibv_post_send: %m");
	return rc_wait(&t->rc, 0).status;
}

/*
 * A window is in the way until it is invalidated, which can be done but once: then
 * there is no MR to let go of.  rxe reports what failed as flushed.
 */
static bool window_invalidated(struct test *t)
{
	struct ibv_mr *mr = reg(t, t->a.addr, CHUNK);
	struct ibv_mw *mw = ibv_alloc_mw(t->rc.pd, IBV_MW_TYPE_2);
	struct ibv_send_wr bind = { .opcode = IBV_WR_BIND_MW };
	struct ibv_send_wr invalidate = { .opcode = IBV_WR_LOCAL_INV };
	enum ibv_wc_status bound, once, twice;
	int busy;
	bool pass;

	if (!mw)
		die("ibv_alloc_mw: %m");
	bind.bind_mw.mw = mw;
	bind.bind_mw.rkey = ibv_inc_rkey(mw->rkey);
	bind.bind_mw.bind_info = (struct ibv_mw_bind_info) {
		.mr = mr,
		.addr = (uintptr_t)mr->addr,
		.length = mr->length,
		.mw_access_flags = IBV_ACCESS_REMOTE_WRITE,
	};
	invalidate.invalidate_rkey = bind.bind_mw.rkey;
	bound = post(t, &bind);
	busy = rereg(mr, CHANGE_TRANS, NULL, t->b.addr, CHUNK, 0);
	once = post(t, &invalidate);
	twice = post(t, &invalidate);
	rc_connect(&t->rc, t->rc.active_mtu);
	pass = bound == IBV_WC_SUCCESS && busy == EBUSY && once == IBV_WC_SUCCESS &&
	       twice != IBV_WC_SUCCESS;
	if (!pass)
		ktap_note("bound: %s; re-registered: %s; invalidated: %s, and again: %s",
			  ibv_wc_status_str(bound), errno_name(busy), ibv_wc_status_str(once),
			  ibv_wc_status_str(twice));
	pass &= !rereg(mr, CHANGE_TRANS, NULL, t->b.addr, CHUNK, 0) &&
		covers(t, mr, (uintptr_t)t->b.addr, t->b.addr, CHUNK, true);
	if (ibv_dealloc_mw(mw))
		die("ibv_dealloc_mw: %m");
	return dereg(t, mr) && pass;
}

static const struct step {
	const char *name;
	bool (*run)(struct test *t);
} steps[] = {
	{ "another translation", translation },
	{ "another iova", other_iova },
	{ "other access flags", access_flags },
	{ "access that the pages aren't pinned for", more_access },
	{ "another PD", pd },
	{ "everything at once", everything },
	{ "an MR whose memory window was invalidated", window_invalidated },
	{ "an MR that a full completion queue has stopped", queue_overflow },
};

static void open_test(struct test *t, const char *path)
{
	rc_open(&t->rc, opt.device);
	rc_connect(&t->rc, t->rc.active_mtu);
	t->path = path;
	t->rng = rng_named(opt.seed, path);
	t->access = ALL_ACCESS | (!strcmp(path, "pages") ? IBV_ACCESS_PAGE_LIST : 0);
	t->other_pd = ibv_alloc_pd(t->rc.ctx);
	t->local = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!t->other_pd || t->local == MAP_FAILED)
		die("can't set up: %m");
	t->local_mr = reg(t, t->local, CHUNK);
	if (region_create(&t->a, "4K", MAX_LEN, &t->rng) ||
	    region_create(&t->b, "thp", MAX_LEN, &t->rng))
		die("no memory");
	/* All that is pinned from here on belongs to the MR under test. */
	t->pins = pin_counters_read();
}

static void close_test(struct test *t)
{
	if (ibv_dereg_mr(t->local_mr) || ibv_dealloc_pd(t->other_pd))
		die("can't close: %m");
	munmap(t->local, CHUNK);
	region_destroy(&t->a);
	region_destroy(&t->b);
	rc_close(&t->rc);
}

static void run_path(const char *path)
{
	struct test t = { 0 };
	int flag = !strcmp(path, "pages") ? IBV_ACCESS_PAGE_LIST : 0;
	bool wrong_byte = !strcmp(opt.corrupt, "byte");

	open_test(&t, path);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		ktap_result(steps[i].run(&t), "%s: %s", path, steps[i].name);
	for (size_t i = 0; i < ARRAY_SIZE(failures); i++)
		ktap_result(fails(&t, &failures[i]), "%s fails as it should: %s", path,
			    failures[i].name);
	close_test(&t);
	race_translation(opt.device, flag, 4 * opt.rounds, wrong_byte);
	race_access(opt.device, flag, opt.rounds, wrong_byte);
	race_pd(opt.device, flag, opt.rounds, wrong_byte);
}

static void parse(int argc, char **argv)
{
	int c;

	opt.seed = (uint64_t)getpid() << 32 ^ (uintptr_t)&c;
	while ((c = getopt(argc, argv, "d:s:n:p:B:")) != -1) {
		switch (c) {
		case 'd':
			opt.device = optarg;
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
		case 'B':
			opt.corrupt = optarg;
			break;
		default:
			fputs("phyr_rereg [-d DEVICE] [-s SEED] [-n ROUNDS] [-p phyr|pages|both]\n"
			      "  -B byte  put a wrong byte where a late write would be: must fail\n"
			      "  -B pin   keep a pin: must fail\n", stderr);
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	static const char * const paths[] = { "phyr", "pages" };
	struct pin_counters before;
	uint64_t left;

	parse(argc, argv);
	ktap_start();
	ktap_note("seed %#llx", (unsigned long long)opt.seed);
	before = pin_counters_read();
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		if (!strcmp(opt.path, "both") || !strcmp(opt.path, paths[i]))
			run_path(paths[i]);
	if (!strcmp(opt.corrupt, "pin")) {
		struct ibv_pd *pd = ibv_alloc_pd(device_open(opt.device));

		if (!pd || !ibv_reg_mr(pd, &opt, sizeof(opt), IBV_ACCESS_LOCAL_WRITE))
			die("ibv_reg_mr: %m");
	}
	left = pins_held_since(before);
	ktap_note("%llu pins are left", (unsigned long long)left);
	ktap_result(!left, "every pin was given back");
	return ktap_finish();
}
