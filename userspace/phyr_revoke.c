// SPDX-License-Identifier: GPL-2.0
/*
 * Takes memory away from an MR while two queue pairs read and write it. What the
 * memory holds then is written over at once, by another mapping: a byte of the new
 * content that a read has got, or one that a write has changed, was accessed when
 * nobody was to access it any more.
 *
 *   munmap, remap, protect, move   what a process does to a BAR that sysfs maps
 *   kill                           the process dies that has the BAR and the MR
 *   zap, dmabuf                    the device stops answering; the BAR is vfio's
 *   unbind                         vfio loses the device; a dma-buf of the BAR is left
 *
 * All but the last three can be done to what any file maps, as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bar.h"
#include "rc.h"

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE)
#define REGION (512 * KiB)
/* Room behind it, for what is moved. */
#define CHECKED (32 * REGION)
#define DEPTH 24
/* What the memory holds before and after, and what is written to it. */
#define BEFORE 0xa5
#define AFTER 0x5a
#define WRITTEN 0xc3

static struct options {
	const char *device;
	const char *pci;
	int index;
	const char *file;
	const char *ways;
	unsigned int rounds;
	size_t request;
	uint64_t seed;
	bool late;
} opt = {
	.device = "rxe0", .index = 2, .ways = "munmap,remap,protect,move,kill", .rounds = 100,
	.request = 32 * KiB,
};

struct test {
	/* What is looked at, and what is registered. */
	struct bar bar, vfio;
	struct rng rng;
	/* Pair 0 writes to the memory, pair 1 reads it. */
	struct rc pair[2];
	/* A slot for each request, of a PD of its pair. */
	unsigned char *slots[2];
	struct ibv_mr *slots_mr[2];
	unsigned char *check;
	unsigned char *addr;
	int fd;
	struct ibv_mr *mr[2];
	unsigned int done[2];
};

static bool by_vfio(const char *way)
{
	return !strcmp(way, "zap") || !strcmp(way, "dmabuf");
}

static bool unbinds(const char *way)
{
	return !strcmp(way, "unbind");
}

static void vfio_driver(const char *what)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/vfio-pci/%s", what);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, opt.pci, strlen(opt.pci)) != (ssize_t)strlen(opt.pci))
		die("%s of %s: %m", path, opt.pci);
	close(fd);
}

static void *unbind(void *begun)
{
	__atomic_store_n((bool *)begun, true, __ATOMIC_RELEASE);
	vfio_driver("unbind");
	return NULL;
}

/* It takes until the process lets go of the device, for which the MR is no reason. */
static void lose_device(struct test *t)
{
	pthread_t thread;
	bool begun = false;

	if (pthread_create(&thread, NULL, unbind, &begun))
		die("no thread");
	while (!__atomic_load_n(&begun, __ATOMIC_ACQUIRE))
		sched_yield();
	usleep(1000);
	bar_close(&t->vfio);
	pthread_join(thread, NULL);
	/* Who opens the device by vfio takes what sysfs has mapped of it. */
	munmap(t->check, CHECKED);
	t->check = bar_map(&t->bar, 0, CHECKED);
	if (!t->check)
		die("mapping the memory again: %m");
}

static void open_memory(struct bar *bar, const char *way)
{
	if (by_vfio(way))
		bar_open_vfio(bar, opt.pci, opt.index);
	else if (opt.file)
		bar_open_file(bar, opt.file);
	else
		bar_open_sysfs(bar, opt.pci, opt.index);
}

static void open_pair(struct test *t, int i)
{
	struct rc *rc = &t->pair[i];

	rc_open(rc, opt.device);
	/* Nothing gets lost, and a timer on a busy machine only disturbs. */
	rc->timeout = 0;
	if (posix_memalign((void **)&t->slots[i], PAGE_4K, DEPTH * opt.request))
		die("out of memory");
	t->slots_mr[i] = ibv_reg_mr(rc->pd, t->slots[i], DEPTH * opt.request, ACCESS);
	if (!t->slots_mr[i])
		die("ibv_reg_mr: %m");
}

static void take(struct test *t, const char *way)
{
	t->fd = -1;
	t->addr = NULL;
	t->vfio = t->bar;
	if (unbinds(way)) {
		vfio_driver("bind");
		bar_open_vfio(&t->vfio, opt.pci, opt.index);
	}
	if (unbinds(way) || !strcmp(way, "dmabuf"))
		t->fd = bar_dmabuf(&t->vfio, 0, REGION, 1);
	else
		t->addr = bar_map(&t->bar, 0, REGION);
	if (t->fd < 0 && !t->addr)
		die("%s: %m", way);
	for (int i = 0; i < 2; i++) {
		t->mr[i] = t->fd < 0 ? ibv_reg_mr_iova(t->pair[i].pd, t->addr, REGION, 0, ACCESS) :
				       ibv_reg_dmabuf_mr(t->pair[i].pd, 0, REGION, 0, t->fd, ACCESS);
		if (!t->mr[i])
			die("%s: registering: %m", way);
	}
}

/* Not to be accessed from here on, but through t->check. */
static void take_away(struct test *t, const char *way)
{
	void *p = t->addr;

	if (unbinds(way)) {
		lose_device(t);
		return;
	}
	if (by_vfio(way)) {
		bar_enable(&t->bar, false);
		bar_enable(&t->bar, true);
		return;
	}
	if (!strcmp(way, "munmap"))
		p = munmap(t->addr, REGION) ? MAP_FAILED : NULL;
	else if (!strcmp(way, "remap"))
		p = mmap(t->addr, REGION, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	else if (!strcmp(way, "protect"))
		p = mprotect(t->addr + REGION / 2, PAGE_4K, PROT_READ) ? MAP_FAILED : p;
	else
		p = mremap(t->addr, REGION, REGION, MREMAP_MAYMOVE | MREMAP_FIXED, t->check + 16 * REGION);
	if (p == MAP_FAILED)
		die("%s: %m", way);
	t->addr = p;
}

static void give_back(struct test *t)
{
	for (int i = 0; i < 2; i++)
		if (ibv_dereg_mr(t->mr[i]))
			die("ibv_dereg_mr: %m");
	if (t->fd >= 0)
		close(t->fd);
	if (t->addr)
		munmap(t->addr, REGION);
}

/*
 * One request of pair @i. The memory is at the far end, or, for @local, at this
 * one, and the slot at the other: what writes and what reads are the other verbs.
 */
static void request(struct test *t, int i, unsigned int slot, bool local)
{
	struct ibv_mr *slots = t->slots_mr[i], *here = local ? t->mr[i] : slots, *there = local ? slots : t->mr[i];
	uint64_t at = (uintptr_t)t->slots[i] + slot * opt.request;
	uint64_t off = rng_between(&t->rng, 0, REGION - opt.request);
	struct ibv_sge sge = { local ? off : at, opt.request, here->lkey };
	struct ibv_send_wr *bad, wr = {
		.sg_list = &sge, .num_sge = 1, .send_flags = IBV_SEND_SIGNALED,
		.opcode = (i == 0) != local ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ,
		.wr.rdma = { local ? at : off, there->rkey },
	};

	if (ibv_post_send(t->pair[i].qp[0], &wr, &bad))
		die("ibv_post_send failed");
}

/* Some of the requests, so that it is revoked in the middle of them. */
static void wait_for_some(struct test *t, unsigned int n)
{
	struct ibv_wc wc;

	while (t->done[0] + t->done[1] < n) {
		for (int i = 0; i < 2; i++) {
			if (ibv_poll_cq(t->pair[i].cq[0], 1, &wc) == 1) {
				if (wc.status)
					die("before anything was revoked: %s", ibv_wc_status_str(wc.status));
				t->done[i]++;
			}
		}
		sched_yield();
	}
}

static size_t count_bytes(const unsigned char *p, size_t len, unsigned char byte, bool same)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += (p[i] == byte) == same;
	return n;
}

static bool fails(struct test *t, int i, bool local)
{
	enum ibv_wc_status status;

	rc_connect(&t->pair[i], t->pair[i].active_mtu);
	request(t, i, 0, local);
	status = rc_wait(&t->pair[i], 0).status;
	/* What a read can't store ends as flushed on rxe, of whatever memory. */
	if (local ? status == IBV_WC_LOC_PROT_ERR || status == IBV_WC_WR_FLUSH_ERR :
		    status == IBV_WC_REM_ACCESS_ERR)
		return true;
	ktap_note("later, pair %d, %s: %s", i, local ? "local" : "remote", ibv_wc_status_str(status));
	return false;
}

struct count {
	unsigned int late;
	/* Rounds in which requests were cut short, and later requests that failed. */
	unsigned int cut;
	unsigned int failing;
};

/* Returns bytes that were accessed late. */
static size_t round_of(struct test *t, const char *way, struct count *count)
{
	bool local = rng_next(&t->rng) & 1;
	unsigned int i, n, errors = 0;
	size_t late;

	memset(t->check, BEFORE, REGION);
	take(t, way);
	for (i = 0; i < 2; i++) {
		memset(t->slots[i], i ? BEFORE : WRITTEN, DEPTH * opt.request);
		rc_connect(&t->pair[i], t->pair[i].active_mtu);
		t->done[i] = 0;
	}
	for (n = 0; n < DEPTH; n++)
		for (i = 0; i < 2; i++)
			request(t, i, n, local);
	wait_for_some(t, rng_between(&t->rng, 0, DEPTH / 2));
	if (!opt.late)
		take_away(t, way);
	memset(t->check, AFTER, REGION);
	for (i = 0; i < 2; i++)
		while (t->done[i] < DEPTH) {
			errors += rc_wait(&t->pair[i], 0).status != IBV_WC_SUCCESS;
			t->done[i]++;
		}
	late = count_bytes(t->check, REGION, AFTER, false) +
	       count_bytes(t->slots[1], DEPTH * opt.request, AFTER, true);
	if (opt.late)
		take_away(t, way);
	for (i = 0; i < 2; i++)
		count->failing += fails(t, i, rng_next(&t->rng) & 1);
	give_back(t);
	count->cut += errors > 0;
	return late;
}

/* Writes until it is killed, and says when it has begun. */
static void victim(const char *way, int begun)
{
	struct test t = { .rng = rng_named(opt.seed, way) };
	struct ibv_wc wc;

	open_memory(&t.bar, way);
	open_pair(&t, 0);
	open_pair(&t, 1);
	take(&t, way);
	rc_connect(&t.pair[0], t.pair[0].active_mtu);
	for (unsigned int n = 0;; n++) {
		request(&t, 0, n % DEPTH, false);
		while (n >= DEPTH / 2 && !ibv_poll_cq(t.pair[0].cq[0], 1, &wc))
			sched_yield();
		if (n == DEPTH && write(begun, "", 1) != 1)
			_exit(1);
	}
}

static size_t kill_one(struct test *t, const char *way)
{
	int begun[2];
	pid_t pid;
	char c;

	if (pipe(begun))
		die("pipe: %m");
	memset(t->check, BEFORE, REGION);
	pid = fork();
	if (!pid)
		victim(way, begun[1]);
	close(begun[1]);
	if (pid < 0 || read(begun[0], &c, 1) != 1)
		die("no process to kill");
	close(begun[0]);
	usleep(rng_between(&t->rng, 0, 20000));
	kill(pid, SIGKILL);
	if (waitpid(pid, NULL, 0) != pid)
		die("waitpid: %m");
	memset(t->check, AFTER, REGION);
	usleep(50000);
	return count_bytes(t->check, REGION, AFTER, false);
}

static void run_kill(const char *way)
{
	struct test t = { .rng = rng_named(opt.seed, way) };
	unsigned int late = 0, rounds;

	open_memory(&t.bar, way);
	t.check = bar_map(&t.bar, 0, CHECKED);
	if (!t.check)
		die("mapping the memory: %m");
	for (rounds = 0; rounds < opt.rounds; rounds++)
		late += kill_one(&t, way) > 0;
	ktap_result(!late, "%s: %u times, %u late accesses", way, rounds, late);
	ktap_note("rounds=%u late_accesses=%u seed=%#llx", rounds, late, (unsigned long long)opt.seed);
	munmap(t.check, CHECKED);
	bar_close(&t.bar);
}

static void run_way(const char *way)
{
	struct test t = { .rng = rng_named(opt.seed, way) };
	struct count count = {};
	unsigned int rounds;
	size_t bytes;

	if (unbinds(way))
		vfio_driver("unbind");
	open_memory(&t.bar, way);
	t.check = bar_map(&t.bar, 0, CHECKED);
	if (!t.check)
		die("mapping the memory: %m");
	open_pair(&t, 0);
	open_pair(&t, 1);
	for (rounds = 0; rounds < opt.rounds; rounds++) {
		bytes = round_of(&t, way, &count);
		if (bytes && count.late++ < 5)
			ktap_note("%s, round %u: %zu bytes were accessed late", way, rounds, bytes);
	}
	ktap_result(!count.late, "%s: %u times, %u late accesses", way, rounds, count.late);
	ktap_result(opt.late || count.cut, "%s: in the middle of requests %u times", way, count.cut);
	ktap_result(count.failing == 2 * rounds, "%s: later requests fail: %u of %u", way, count.failing, 2 * rounds);
	ktap_note("rounds=%u late_accesses=%u seed=%#llx", rounds, count.late, (unsigned long long)opt.seed);
	for (int i = 0; i < 2; i++) {
		ibv_dereg_mr(t.slots_mr[i]);
		rc_close(&t.pair[i]);
		free(t.slots[i]);
	}
	munmap(t.check, CHECKED);
	bar_close(&t.bar);
	if (unbinds(way))
		vfio_driver("bind");
}

static void usage(void)
{
	die("usage: phyr_revoke -b PCI-ADDRESS|-f FILE [-d DEVICE] [-i BAR] [-w WAY,...] [-n ROUNDS] [-l BYTES] [-s SEED] [-B]\n"
	    "  WAY is munmap, remap, protect, move or kill, or of a device of vfio's zap, dmabuf or unbind\n"
	    "  -l  of a request (32768)\n"
	    "  -B  write over it before it is revoked: must be noticed");
}

int main(int argc, char **argv)
{
	char *ways, *way;
	int c;

	opt.seed = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
	while ((c = getopt(argc, argv, "d:b:i:f:w:n:l:s:B")) != -1) {
		switch (c) {
		case 'd':
			opt.device = optarg;
			break;
		case 'b':
			opt.pci = optarg;
			break;
		case 'i':
			opt.index = atoi(optarg);
			break;
		case 'f':
			opt.file = optarg;
			break;
		case 'w':
			opt.ways = optarg;
			break;
		case 'n':
			opt.rounds = strtoul(optarg, NULL, 0);
			break;
		case 'l':
			opt.request = strtoul(optarg, NULL, 0);
			break;
		case 's':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 'B':
			opt.late = true;
			break;
		default:
			usage();
		}
	}
	if (!opt.pci == !opt.file || !opt.rounds || !opt.request || opt.request > REGION / 2)
		usage();

	ktap_start();
	ways = strdup(opt.ways);
	for (way = strtok(ways, ","); way; way = strtok(NULL, ",")) {
		if (!by_vfio(way) && !unbinds(way) && strcmp(way, "munmap") && strcmp(way, "remap") &&
		    strcmp(way, "protect") && strcmp(way, "move") && strcmp(way, "kill"))
			usage();
		if (((by_vfio(way) || unbinds(way)) && !opt.pci) || (unbinds(way) && opt.late))
			usage();
		if (!strcmp(way, "kill"))
			run_kill(way);
		else
			run_way(way);
	}
	free(ways);
	return ktap_finish();
}
