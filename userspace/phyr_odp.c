// SPDX-License-Identifier: GPL-2.0
/*
 * On-demand paging MRs: that bytes come from and go to where they should, whatever
 * the offset, the MTU and the iova; that pages which the process has dropped,
 * replaced, shared or protected since are looked up anew; and what ibv_advise_mr()
 * takes. All of both buffers is compared each time.
 *
 * The stock kernel is known to copy from the start of a page, not to go on in the
 * packet's buffer behind a page border, and to take an iova for an address. There
 * (-S) these cases have to go wrong, which proves that they can. What would take the
 * kernel down with it is left out.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "rc.h"

#define PAGES 16
#define LEN (PAGES * PAGE_4K)
#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | \
		IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)

/* Of libibverbs, for providers: rxe's in rdma-core 56 has no ibv_advise_mr(). */
int ibv_cmd_advise_mr(struct ibv_pd *pd, enum ibv_advise_mr_advice advice,
		      uint32_t flags, struct ibv_sge *sg_list, uint32_t num_sge);

static const char *device = "rxe0";
static bool stock;

static struct test {
	struct rc rc;
	struct rng rng;
	enum ibv_mtu mtu;
	int access;
	/* On demand, and pinned. */
	struct end {
		unsigned char *mem;
		unsigned char want[LEN];
		struct ibv_mr *mr;
	} odp, pinned;
} t;

enum move { WRITE, READ, SEND, RECV, MOVES };

static const char *const move_names[MOVES] = {
	[WRITE] = "written to",
	[READ] = "read from",
	[SEND] = "sent from",
	[RECV] = "received in",
};

static unsigned char *map_pages(void *at)
{
	void *map = mmap(at, LEN, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);

	if (map == MAP_FAILED)
		die("mmap: %m");
	madvise(map, LEN, MADV_NOHUGEPAGE);
	return map;
}

static struct ibv_mr *reg(unsigned char *mem, size_t len, uint64_t iova, int access)
{
	struct ibv_mr *mr = ibv_reg_mr_iova2(t.rc.pd, mem, len, iova, access);

	if (!mr)
		die("ibv_reg_mr_iova2(access %#x): %m", access);
	return mr;
}

static void dereg(struct ibv_mr *mr)
{
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr: %m");
}

static void fill(struct end *end)
{
	rng_fill(&t.rng, end->want, LEN);
	memcpy(end->mem, end->want, LEN);
}

static bool intact(const struct end *end, const char *name)
{
	size_t i;

	if (!memcmp(end->mem, end->want, LEN))
		return true;
	for (i = 0; end->mem[i] == end->want[i]; i++)
		;
	ktap_note("%s memory differs from offset %zu on", name, i);
	return false;
}

static bool both_intact(void)
{
	bool odp = intact(&t.odp, "the on-demand");

	return intact(&t.pinned, "the pinned") && odp;
}

static void post(struct ibv_send_wr *wr)
{
	struct ibv_send_wr *bad;
	int err = ibv_post_send(t.rc.qp[0], wr, &bad);

	if (err)
		die("ibv_post_send: %s", strerror(err));
}

static enum ibv_wc_status wait_for(int side)
{
	return rc_wait(&t.rc, side).status;
}

/* A QP that has seen an error is of no more use. */
static bool ended(enum ibv_wc_status want)
{
	enum ibv_wc_status status = wait_for(0);

	if (status != IBV_WC_SUCCESS)
		rc_connect(&t.rc, t.mtu);
	if (status != want)
		ktap_note("completion \"%s\"", ibv_wc_status_str(status));
	return status == want;
}

/* Between offset @to of the one and @from of the other, by the MR and iova given. */
static enum ibv_wc_status transfer(enum move move, struct ibv_mr *mr, uint64_t iova,
				   size_t pinned_off, uint32_t len)
{
	struct ibv_sge far = { iova, len, mr->lkey };
	struct ibv_sge near = { (uintptr_t)t.pinned.mem + pinned_off, len, t.pinned.mr->lkey };
	struct ibv_recv_wr recv = { .sg_list = move == RECV ? &far : &near, .num_sge = 1 };
	struct ibv_send_wr wr = {
		.sg_list = move == SEND ? &far : &near,
		.num_sge = 1,
		.opcode = move == WRITE ? IBV_WR_RDMA_WRITE :
			  move == READ ? IBV_WR_RDMA_READ : IBV_WR_SEND,
		.wr.rdma = { .remote_addr = iova, .rkey = mr->rkey },
	};
	struct ibv_recv_wr *bad;
	enum ibv_wc_status status;

	if (wr.opcode == IBV_WR_SEND && ibv_post_recv(t.rc.qp[1], &recv, &bad))
		die("ibv_post_recv failed");
	post(&wr);
	status = wait_for(0);
	if (status == IBV_WC_SUCCESS && wr.opcode == IBV_WR_SEND)
		status = wait_for(1);
	if (status != IBV_WC_SUCCESS) {
		ktap_note("completion \"%s\"", ibv_wc_status_str(status));
		rc_connect(&t.rc, t.mtu);
	}
	return status;
}

/* Moves bytes and says whether all of them, and no others, are where they belong. */
static bool moves_right(enum move move, struct ibv_mr *mr, uint64_t iova, size_t off,
			size_t pinned_off, uint32_t len)
{
	if (move == WRITE || move == RECV)
		memcpy(t.odp.want + off, t.pinned.want + pinned_off, len);
	else
		memcpy(t.pinned.want + pinned_off, t.odp.want + off, len);
	return transfer(move, mr, iova, pinned_off, len) == IBV_WC_SUCCESS && both_intact();
}

static bool moves_at(enum move move, size_t off, size_t pinned_off, uint32_t len)
{
	return moves_right(move, t.odp.mr, (uintptr_t)t.odp.mem + off, off, pinned_off, len);
}

static void result(bool right, bool stock_is_wrong, const char *name)
{
	if (stock && stock_is_wrong)
		ktap_result(!right, "%s: wrong, as is known of this kernel", name);
	else
		ktap_result(right, "%s", name);
}

static void run_offsets(void)
{
	static const struct {
		const char *name;
		size_t off;
		uint32_t len;
		bool stock_is_wrong;
	} spans[] = {
		{ "a page's first bytes", 2 * PAGE_4K, 900, false },
		{ "an offset", 3 * PAGE_4K + 321, 500, true },
		{ "a page's last bytes", 4 * PAGE_4K - 77, 77, true },
		{ "across a page border", 5 * PAGE_4K - 123, 456, true },
		{ "across many pages", 6 * PAGE_4K + 1, 5 * PAGE_4K, true },
		{ "all but odd ends", 5, LEN - 12, true },
	};
	char name[96];

	for (size_t i = 0; i < ARRAY_SIZE(spans); i++) {
		for (enum move move = 0; move < MOVES; move++) {
			fill(&t.odp);
			fill(&t.pinned);
			snprintf(name, sizeof(name), "MTU %d, %s %s", 128 << t.mtu,
				 move_names[move], spans[i].name);
			result(moves_at(move, spans[i].off, 3, spans[i].len),
			       spans[i].stock_is_wrong, name);
		}
	}
}

/* Up by a page, the stock kernel still stays in what it has; by more, it may not. */
static void run_iova(void)
{
	static const uint64_t ups[] = { PAGE_4K, 3 * GiB + 5 * PAGE_4K, 0x1234567ULL << 32 };
	char name[96];

	for (size_t i = 0; i < (stock ? 1 : ARRAY_SIZE(ups)); i++) {
		uint64_t iova = (uintptr_t)t.odp.mem + ups[i];
		struct ibv_mr *mr = reg(t.odp.mem, LEN, iova, t.access | IBV_ACCESS_ON_DEMAND);

		for (enum move move = 0; move < MOVES; move++) {
			fill(&t.odp);
			fill(&t.pinned);
			snprintf(name, sizeof(name), "%s an iova %#llx above the address",
				 move_names[move], (unsigned long long)ups[i]);
			result(moves_right(move, mr, iova + PAGE_4K, PAGE_4K, 0, 900), true, name);
		}
		dereg(mr);
	}
}

/* Pages that aren't those the MR has seen, or the same with other rights. */
static void run_changes(void)
{
	const size_t off = stock ? 3 * PAGE_4K : 3 * PAGE_4K - 50;
	const char *const why[] = { "after MADV_DONTNEED", "mapped anew", "shared by fork()" };
	char name[96];

	for (size_t i = 0; i < ARRAY_SIZE(why); i++) {
		for (enum move move = 0; move < MOVES; move++) {
			pid_t child = -1;
			bool right;

			fill(&t.odp);
			fill(&t.pinned);
			right = moves_at(move, off, 0, 900);
			if (i == 2) {
				child = fork();
				if (child < 0)
					die("fork: %m");
				if (!child) {
					pause();
					_exit(0);
				}
			} else {
				if (i == 0 && madvise(t.odp.mem, LEN, MADV_DONTNEED))
					die("madvise: %m");
				if (i == 1)
					map_pages(t.odp.mem);
				memset(t.odp.want, 0, LEN);
			}
			right &= moves_at(move, off, 1000, 900);
			if (child > 0) {
				kill(child, SIGKILL);
				waitpid(child, NULL, 0);
			}
			snprintf(name, sizeof(name), "%s pages %s", move_names[move], why[i]);
			ktap_result(right, "%s", name);
		}
	}
}

static void run_rights(void)
{
	struct ibv_sge sge = { (uintptr_t)t.pinned.mem, 64, t.pinned.mr->lkey };
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE,
		.wr.rdma = { (uintptr_t)t.odp.mem, t.odp.mr->rkey },
	};
	bool refused;

	fill(&t.odp);
	fill(&t.pinned);
	if (mprotect(t.odp.mem, LEN, PROT_READ))
		die("mprotect: %m");
	post(&wr);
	refused = ended(IBV_WC_REM_ACCESS_ERR);
	ktap_result(refused && both_intact(), "no write to pages that are read-only by now");
	ktap_result(moves_at(READ, 0, 0, 900), "read from pages that are read-only by now");
	if (mprotect(t.odp.mem, LEN, PROT_READ | PROT_WRITE))
		die("mprotect: %m");
	ktap_result(moves_at(WRITE, 0, 0, 900), "written to pages that are writable again");

	munmap(t.odp.mem, LEN);
	post(&wr);
	refused = ended(IBV_WC_REM_ACCESS_ERR);
	if (map_pages(t.odp.mem) != t.odp.mem)
		die("mapped elsewhere");
	memset(t.odp.want, 0, LEN);
	ktap_result(refused && both_intact(), "no write to where nothing is mapped");
}

static uint64_t *word(unsigned char *base, size_t off)
{
	return (uint64_t *)(base + off);
}

/* The last word of a page, and the first one, of pages that are dropped before. */
static void run_atomics(bool other_iova)
{
	static const size_t offs[] = { PAGE_4K - 8, PAGE_4K, 7 * PAGE_4K + 808 };
	uint64_t iova = (uintptr_t)t.odp.mem + (other_iova ? 77 * GiB : 0);
	struct ibv_mr *mr = reg(t.odp.mem, LEN, iova, t.access | IBV_ACCESS_ON_DEMAND);
	struct ibv_qp_ex *qp = ibv_qp_to_qp_ex(t.rc.qp[0]);
	const char *where = other_iova ? " at another iova" : "";
	struct ibv_sge sge = { (uintptr_t)t.pinned.mem, 8, t.pinned.mr->lkey };
	bool add = true, swap = true, write = true;

	for (size_t i = 0; i < ARRAY_SIZE(offs); i++) {
		struct ibv_send_wr wr = {
			.sg_list = &sge, .num_sge = 1,
			.wr.atomic = { .remote_addr = iova + offs[i], .rkey = mr->rkey },
		};

		fill(&t.pinned);
		madvise(t.odp.mem, LEN, MADV_DONTNEED);
		memset(t.odp.want, 0, LEN);

		wr.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD;
		wr.wr.atomic.compare_add = 12345;
		post(&wr);
		*word(t.odp.want, offs[i]) = 12345;
		*word(t.pinned.want, 0) = 0;
		add &= ended(IBV_WC_SUCCESS) && both_intact();

		wr.opcode = IBV_WR_ATOMIC_CMP_AND_SWP;
		wr.wr.atomic.compare_add = 12345;
		wr.wr.atomic.swap = ~0ULL << 7;
		post(&wr);
		*word(t.odp.want, offs[i]) = ~0ULL << 7;
		*word(t.pinned.want, 0) = 12345;
		swap &= ended(IBV_WC_SUCCESS) && both_intact();

		if (!t.rc.atomic_write)
			continue;
		madvise(t.odp.mem, LEN, MADV_DONTNEED);
		memset(t.odp.want, 0, LEN);
		*word(t.odp.want, offs[i]) = rng_next(&t.rng);
		ibv_wr_start(qp);
		qp->wr_flags = IBV_SEND_SIGNALED;
		ibv_wr_atomic_write(qp, mr->rkey, iova + offs[i], word(t.odp.want, offs[i]));
		if (ibv_wr_complete(qp))
			die("ibv_wr_complete failed");
		write &= ended(IBV_WC_SUCCESS) && both_intact();
	}
	ktap_result(add, "fetch and add%s", where);
	ktap_result(swap, "compare and swap%s", where);
	if (t.rc.atomic_write)
		ktap_result(write, "atomic write%s", where);
	else
		ktap_skip("the device can't", "atomic write%s", where);
	dereg(mr);
}

static size_t present(const unsigned char *mem)
{
	unsigned char resident[PAGES];
	size_t n = 0;

	if (mincore((void *)mem, LEN, resident))
		die("mincore: %m");
	for (size_t i = 0; i < PAGES; i++)
		n += resident[i] & 1;
	return n;
}

static int advise(enum ibv_advise_mr_advice advice, uint32_t flags, struct ibv_mr *mr,
		  uint64_t addr, uint32_t len)
{
	struct ibv_sge sge = { addr, len, mr->lkey };

	return ibv_cmd_advise_mr(t.rc.pd, advice, flags, &sge, 1);
}

static void expect(int err, int want, const char *name)
{
	ktap_result(err == want, "%s: %s", name, errno_name(err));
}

static void run_advice(void)
{
	const uint32_t now = IBV_ADVISE_MR_FLAG_FLUSH;
	uint64_t iova = (uintptr_t)t.odp.mem + 9 * GiB;
	struct ibv_mr *mr = reg(t.odp.mem, LEN, iova, t.access | IBV_ACCESS_ON_DEMAND);
	struct ibv_mr *read_only = reg(t.odp.mem, LEN, (uintptr_t)t.odp.mem,
				       IBV_ACCESS_REMOTE_READ | IBV_ACCESS_ON_DEMAND);
	bool pass;

	madvise(t.odp.mem, LEN, MADV_DONTNEED);
	pass = !advise(IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, now, mr, iova + 5000, 9000) &&
	       present(t.odp.mem) == 3;
	ktap_result(pass, "prefetch for writing, of 3 pages");
	pass = !advise(IBV_ADVISE_MR_ADVICE_PREFETCH, 0, mr, iova, LEN);
	for (int i = 0; i < 1000 && present(t.odp.mem) < PAGES; i++)
		usleep(10000);
	ktap_result(pass && present(t.odp.mem) == PAGES, "prefetch later, of all pages");

	madvise(t.odp.mem, LEN, MADV_DONTNEED);
	expect(advise(IBV_ADVISE_MR_ADVICE_PREFETCH, now, read_only, (uintptr_t)t.odp.mem, LEN), 0,
	       "prefetch of what can only be read");
	for (uint32_t flags = 0; flags <= now; flags += now) {
		const char *how = flags ? "at once" : "later";
		char name[96];

		snprintf(name, sizeof(name), "prefetch %s, for writing what can only be read", how);
		expect(advise(IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE, flags, read_only,
			      (uintptr_t)t.odp.mem, LEN), EPERM, name);
		snprintf(name, sizeof(name), "prefetch %s, beyond the MR", how);
		expect(advise(IBV_ADVISE_MR_ADVICE_PREFETCH, flags, mr, iova + 1, LEN), EFAULT, name);
		snprintf(name, sizeof(name), "prefetch %s, by the address and not the iova", how);
		expect(advise(IBV_ADVISE_MR_ADVICE_PREFETCH, flags, mr, (uintptr_t)t.odp.mem, LEN),
		       EFAULT, name);
		snprintf(name, sizeof(name), "prefetch %s, of a pinned MR", how);
		expect(advise(IBV_ADVISE_MR_ADVICE_PREFETCH, flags, t.pinned.mr,
			      (uintptr_t)t.pinned.mem, LEN), EINVAL, name);
	}
	dereg(read_only);
	dereg(mr);
}

static void run_implicit(const struct ibv_device_attr_ex *attr)
{
	struct ibv_mr *mr = ibv_reg_mr(t.rc.pd, NULL, SIZE_MAX, t.access | IBV_ACCESS_ON_DEMAND);

	if (attr->odp_caps.general_caps & IBV_ODP_SUPPORT_IMPLICIT)
		ktap_result(mr, "implicit on-demand paging, which the device says it can");
	else
		ktap_result(!mr && errno == EOPNOTSUPP,
			    "no implicit on-demand paging, as the device says");
	if (mr)
		dereg(mr);
}

static void run_mtu(enum ibv_mtu mtu)
{
	t.mtu = mtu;
	rc_connect(&t.rc, mtu);
	run_offsets();
}

int main(int argc, char **argv)
{
	struct ibv_device_attr_ex attr;
	int c;

	while ((c = getopt(argc, argv, "d:S")) != -1) {
		switch (c) {
		case 'd':
			device = optarg;
			break;
		case 'S':
			stock = true;
			break;
		default:
			die("usage: phyr_odp [-d DEVICE] [-S, if this is a stock kernel]");
		}
	}
	ktap_start();
	rc_open(&t.rc, device);
	if (ibv_query_device_ex(t.rc.ctx, NULL, &attr))
		die("ibv_query_device_ex: %m");
	if (!(attr.odp_caps.general_caps & IBV_ODP_SUPPORT))
		die("%s can't page on demand", device);
	t.rng = rng_named(1, "odp");
	t.access = ACCESS | (t.rc.flush ? IBV_ACCESS_FLUSH_GLOBAL : 0);
	t.odp.mem = map_pages(NULL);
	t.pinned.mem = map_pages(NULL);
	t.odp.mr = reg(t.odp.mem, LEN, (uintptr_t)t.odp.mem, t.access | IBV_ACCESS_ON_DEMAND);
	t.pinned.mr = reg(t.pinned.mem, LEN, (uintptr_t)t.pinned.mem, t.access);

	for (enum ibv_mtu mtu = IBV_MTU_1024; mtu <= t.rc.active_mtu; mtu++)
		run_mtu(mtu);
	run_iova();
	run_changes();
	run_rights();
	run_atomics(false);
	if (!stock) {
		run_atomics(true);
		run_advice();
	}
	run_implicit(&attr);

	dereg(t.odp.mr);
	dereg(t.pinned.mr);
	rc_close(&t.rc);
	return ktap_finish();
}
