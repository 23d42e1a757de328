// SPDX-License-Identifier: GPL-2.0
/*
 * Asks for registrations that can't be, and some that only just can, on both
 * paths. The table says what the stock kernel answers; run on a stock kernel this
 * checks the table, run on ours it checks that nothing has changed. Either way
 * nothing may stay pinned.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"
#include "rc.h"

#define LEN (8 * MiB)
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define WRITABLE IBV_ACCESS_LOCAL_WRITE
/* Returned by a case whose memory can't be had on this machine. */
#define CANT 1

struct request {
	unsigned char *addr;
	size_t len;
	uint64_t iova_offset;
	unsigned int access;
	/* Register twice, for limits that add up. */
	bool twice;
	/* Give up root and CAP_IPC_LOCK, with this RLIMIT_MEMLOCK. */
	bool drop;
	size_t memlock;
};

static void *map(size_t len, int prot, int flags, int fd)
{
	void *p = mmap(NULL, len, prot, flags, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int anon(struct request *r, size_t len, int prot)
{
	r->addr = map(len, prot, ANON, -1);
	r->len = len;
	r->access = WRITABLE;
	return r->addr ? 0 : CANT;
}

static int good(struct request *r)
{
	return anon(r, LEN, RW);
}

static int untouched_read_only(struct request *r)
{
	int ret = anon(r, LEN, PROT_READ);

	r->access = 0;
	return ret;
}

static int unmapped(struct request *r)
{
	int ret = anon(r, LEN, RW);

	munmap(r->addr, LEN);
	return ret;
}

static int prot_none(struct request *r)
{
	return anon(r, LEN, PROT_NONE);
}

static int read_only_asked_writable(struct request *r)
{
	return anon(r, LEN, PROT_READ);
}

static int write_only(struct request *r)
{
	int ret = anon(r, LEN, PROT_WRITE);

	r->access = 0;
	return ret;
}

static int file(struct request *r, int prot, int flags, unsigned int access)
{
	int fd = memfd_create("phyr", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, LEN))
		return CANT;
	r->addr = map(LEN, prot, flags, fd);
	r->len = LEN;
	r->access = access;
	return r->addr ? 0 : CANT;
}

static int file_shared_read_only_asked_writable(struct request *r)
{
	return file(r, PROT_READ, MAP_SHARED, WRITABLE);
}

static int file_shared_read_only(struct request *r)
{
	return file(r, PROT_READ, MAP_SHARED, 0);
}

static int file_private_cow(struct request *r)
{
	return file(r, RW, MAP_PRIVATE, 0);
}

static int beyond_end_of_file(struct request *r)
{
	int fd = memfd_create("phyr", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, LEN - PAGE_4K))
		return CANT;
	r->addr = map(LEN, RW, MAP_SHARED, fd);
	r->len = LEN;
	r->access = WRITABLE;
	return r->addr ? 0 : CANT;
}

static int secret_memory(struct request *r)
{
	int fd = syscall(SYS_memfd_secret, 0);

	if (fd < 0 || ftruncate(fd, LEN))
		return CANT;
	r->addr = map(LEN, RW, MAP_SHARED, fd);
	r->len = LEN;
	r->access = WRITABLE;
	return r->addr ? 0 : CANT;
}

/* Ordinary pages first and secret ones after them: partial progress is undone. */
static int secret_memory_at_end(struct request *r)
{
	int fd = syscall(SYS_memfd_secret, 0);

	if (fd < 0 || ftruncate(fd, LEN) || anon(r, LEN, RW))
		return CANT;
	return mmap(r->addr + LEN / 2, LEN / 2, RW, MAP_SHARED | MAP_FIXED,
		    fd, 0) == MAP_FAILED ? CANT : 0;
}

/* A BAR mapped from sysfs: a VMA of page frame numbers, with nothing to pin. */
static int no_struct_page(struct request *r)
{
	glob_t bars;

	r->len = PAGE_4K;
	if (glob("/sys/bus/pci/devices/*/resource[0-5]", 0, NULL, &bars))
		return CANT;
	for (size_t i = 0; i < bars.gl_pathc && !r->addr; i++) {
		int fd = open(bars.gl_pathv[i], O_RDONLY | O_CLOEXEC);

		if (fd >= 0)
			r->addr = map(r->len, PROT_READ, MAP_SHARED, fd);
		close(fd);
	}
	globfree(&bars);
	return r->addr ? 0 : CANT;
}

/* Pages of the kernel's own, in a special mapping. */
static int vdso(struct request *r)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long start, end;
	char line[256];

	while (f && !r->addr && fgets(line, sizeof(line), f)) {
		if (!strstr(line, "[vdso]") || sscanf(line, "%lx-%lx", &start, &end) != 2)
			continue;
		r->addr = (unsigned char *)start;
		r->len = end - start;
	}
	if (f)
		fclose(f);
	return r->addr ? 0 : CANT;
}

static int kernel_address(struct request *r)
{
	r->addr = (unsigned char *)0xffff888000000000UL;
	r->len = PAGE_4K;
	return 0;
}

static int null_page(struct request *r)
{
	r->addr = NULL;
	r->len = PAGE_4K;
	return 0;
}

static int zero_length(struct request *r)
{
	int ret = anon(r, LEN, RW);

	r->len = 0;
	return ret;
}

static int zero_length_odd_address(struct request *r)
{
	int ret = anon(r, LEN, RW);

	r->addr += 5;
	r->len = 0;
	return ret;
}

static int end_wraps(struct request *r)
{
	int ret = anon(r, LEN, RW);

	r->len = -(uintptr_t)r->addr + PAGE_4K;
	return ret;
}

static int end_is_zero(struct request *r)
{
	int ret = anon(r, LEN, RW);

	r->len = -(uintptr_t)r->addr;
	return ret;
}

/* The end does not wrap; rounded up to a page it does. */
static int page_end_wraps(struct request *r)
{
	int ret = anon(r, LEN, RW);

	r->len = -(uintptr_t)r->addr - 1;
	return ret;
}

static int longest(struct request *r)
{
	int ret = anon(r, LEN, RW);

	r->len = SIZE_MAX;
	return ret;
}

static int pages_over_u32(struct request *r)
{
	int ret = anon(r, LEN, RW);

	r->len = 1UL << 44;
	return ret;
}

static int eight_tebibytes(struct request *r)
{
	int ret = anon(r, LEN, RW);

	r->len = 1UL << 43;
	return ret;
}

static int over_user_space_end(struct request *r)
{
	r->addr = (unsigned char *)0x7fffffffe000UL;
	r->len = 4 * PAGE_4K;
	return 0;
}

/* Memory of a kind, with a hole of its page size at @where. */
static int hole(struct request *r, const char *kind, size_t where, int none)
{
	size_t page = kind_page_size(kind);
	struct rng rng = { 1 };
	struct region region;

	if (region_create(&region, kind, LEN, &rng))
		return CANT;
	r->addr = region.addr;
	r->len = LEN;
	r->access = WRITABLE;
	if (none)
		return mprotect(region.addr + where, page, PROT_NONE) ? CANT : 0;
	return munmap(region.addr + where, page) ? CANT : 0;
}

static int hole_at_start(struct request *r)
{
	return hole(r, "4K", 0, 0);
}

static int hole_in_middle(struct request *r)
{
	return hole(r, "4K", LEN / 2 + 3 * PAGE_4K, 0);
}

static int hole_at_end(struct request *r)
{
	return hole(r, "4K", LEN - PAGE_4K, 0);
}

static int prot_none_in_middle(struct request *r)
{
	return hole(r, "4K", LEN / 2 + 3 * PAGE_4K, 1);
}

static int thp_hole_in_middle(struct request *r)
{
	return hole(r, "thp", LEN / 2, 0);
}

static int thp_prot_none_at_end(struct request *r)
{
	return hole(r, "thp", LEN - PAGE_2M, 1);
}

static int thp_one_page_read_only(struct request *r)
{
	if (hole(r, "thp", 0, 0))
		return CANT;
	r->addr += PAGE_2M;
	r->len -= PAGE_2M;
	return mprotect(r->addr + PAGE_2M + 7 * PAGE_4K, PAGE_4K, PROT_READ) ? CANT : 0;
}

static int hugetlb_hole_in_middle(struct request *r)
{
	return hole(r, "2M", LEN / 2, 0);
}

static int hugetlb_prot_none_at_end(struct request *r)
{
	return hole(r, "2M", LEN - PAGE_2M, 1);
}

static int hugetlb_read_only(struct request *r)
{
	struct rng rng = { 1 };
	struct region region;

	if (region_create(&region, "2M", LEN, &rng))
		return CANT;
	r->addr = region.addr;
	r->len = LEN;
	r->access = WRITABLE;
	return mprotect(r->addr + LEN / 2, LEN / 2, PROT_READ) ? CANT : 0;
}

/* One hugepage more than there are, not reserved, so that only the fault fails. */
static int hugetlb_exhausted(struct request *r)
{
	FILE *f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "r");
	unsigned long pages;

	if (!f || fscanf(f, "%lu", &pages) != 1)
		return CANT;
	fclose(f);
	r->len = (pages + 1) * PAGE_2M;
	r->addr = map(r->len, RW, ANON | MAP_HUGETLB | MAP_NORESERVE |
		      21 << 26 /* MAP_HUGE_2MB */, -1);
	r->access = WRITABLE;
	return r->addr ? 0 : CANT;
}

static int with_access(struct request *r, unsigned int access)
{
	int ret = anon(r, LEN, RW);

	r->access = access;
	return ret;
}

static int access_bit_10(struct request *r)
{
	return with_access(r, WRITABLE | 1 << 10);
}

static int access_bit_19(struct request *r)
{
	return with_access(r, WRITABLE | 1 << 19);
}

static int access_bit_30(struct request *r)
{
	return with_access(r, WRITABLE | 1 << 30);
}

static int access_bit_31(struct request *r)
{
	return with_access(r, WRITABLE | 1U << 31);
}

static int access_optional_unknown(struct request *r)
{
	return with_access(r, WRITABLE | 1 << 28);
}

static int access_hugetlb(struct request *r)
{
	return with_access(r, WRITABLE | IBV_ACCESS_HUGETLB);
}

static int access_zero_based(struct request *r)
{
	return with_access(r, WRITABLE | IBV_ACCESS_ZERO_BASED);
}

static int access_remote_write_alone(struct request *r)
{
	return with_access(r, IBV_ACCESS_REMOTE_WRITE);
}

static int access_flush_persistent_on_ram(struct request *r)
{
	return with_access(r, WRITABLE | 1 << 9 /* IBV_ACCESS_FLUSH_PERSISTENT */);
}

static int iova_other_page_offset(struct request *r)
{
	r->iova_offset = 8;
	return anon(r, LEN, RW);
}

static int iova_wraps(struct request *r)
{
	int ret = anon(r, LEN, RW);

	r->iova_offset = -(uintptr_t)r->addr - PAGE_4K;
	return ret;
}

static int limited(struct request *r, size_t len, size_t memlock)
{
	r->drop = true;
	r->memlock = memlock;
	return anon(r, len, RW);
}

static int memlock_just_enough(struct request *r)
{
	return limited(r, 64 * KiB, 64 * KiB);
}

static int memlock_exceeded(struct request *r)
{
	return limited(r, 64 * KiB + 1, 64 * KiB);
}

static int memlock_exceeded_by_thp(struct request *r)
{
	struct rng rng = { 1 };
	struct region region;

	if (region_create(&region, "thp", LEN, &rng))
		return CANT;
	r->drop = true;
	r->memlock = LEN - 1;
	r->addr = region.addr;
	r->len = LEN;
	r->access = WRITABLE;
	return 0;
}

static int memlock_adds_up(struct request *r)
{
	r->twice = true;
	return limited(r, 40 * KiB, 64 * KiB);
}

static int memlock_zero(struct request *r)
{
	return limited(r, PAGE_4K, 0);
}

#define CASE(fn, err) { #fn, fn, err }

static const struct {
	const char *name;
	int (*prepare)(struct request *r);
	int stock_errno;
} cases[] = {
	CASE(good, 0),
	CASE(untouched_read_only, 0),
	CASE(unmapped, EFAULT),
	CASE(prot_none, EFAULT),
	CASE(read_only_asked_writable, EFAULT),
	CASE(write_only, EFAULT),
	CASE(file_shared_read_only_asked_writable, EFAULT),
	CASE(file_shared_read_only, 0),
	CASE(file_private_cow, 0),
	CASE(beyond_end_of_file, EFAULT),
	CASE(secret_memory, EFAULT),
	CASE(secret_memory_at_end, EFAULT),
	CASE(no_struct_page, EFAULT),
	CASE(vdso, 0),
	CASE(kernel_address, EFAULT),
	CASE(null_page, EFAULT),
	CASE(zero_length, EINVAL),
	CASE(zero_length_odd_address, 0),
	CASE(end_wraps, EINVAL),
	CASE(end_is_zero, EINVAL),
	CASE(page_end_wraps, EINVAL),
	CASE(longest, EINVAL),
	CASE(pages_over_u32, EINVAL),
	CASE(eight_tebibytes, EFAULT),
	CASE(over_user_space_end, EFAULT),
	CASE(hole_at_start, EFAULT),
	CASE(hole_in_middle, EFAULT),
	CASE(hole_at_end, EFAULT),
	CASE(prot_none_in_middle, EFAULT),
	CASE(thp_hole_in_middle, EFAULT),
	CASE(thp_prot_none_at_end, EFAULT),
	CASE(thp_one_page_read_only, EFAULT),
	CASE(hugetlb_hole_in_middle, EFAULT),
	CASE(hugetlb_prot_none_at_end, EFAULT),
	CASE(hugetlb_read_only, EFAULT),
	CASE(hugetlb_exhausted, EFAULT),
	CASE(access_bit_10, EINVAL),
	CASE(access_bit_19, EINVAL),
	CASE(access_bit_30, EINVAL),
	CASE(access_bit_31, EINVAL),
	CASE(access_optional_unknown, 0),
	CASE(access_hugetlb, EOPNOTSUPP),
	CASE(access_zero_based, EOPNOTSUPP),
	CASE(access_remote_write_alone, EINVAL),
	CASE(access_flush_persistent_on_ram, EINVAL),
	CASE(iova_other_page_offset, EINVAL),
	CASE(iova_wraps, 0),
	CASE(memlock_just_enough, 0),
	CASE(memlock_exceeded, ENOMEM),
	CASE(memlock_exceeded_by_thp, ENOMEM),
	CASE(memlock_adds_up, ENOMEM),
	CASE(memlock_zero, EPERM),
};

struct answer {
	bool cant;
	int err;
	uint64_t vmpin_kb;
};

static void drop_privileges(size_t memlock)
{
	struct rlimit limit = { memlock, memlock };

	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setgroups(0, NULL) ||
	    setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		die("can't drop privileges: %m");
}

/* In a process of its own: what one case leaves behind can't reach the next. */
static struct answer ask(const char *device, unsigned int i, unsigned int path_flag)
{
	struct answer answer = { 0 };
	struct request r = { 0 };
	struct ibv_mr *mr[2] = { 0 };
	struct ibv_pd *pd = ibv_alloc_pd(device_open(device));

	if (!pd)
		die("ibv_alloc_pd: %m");
	if (cases[i].prepare(&r)) {
		answer.cant = true;
		return answer;
	}
	if (r.drop)
		drop_privileges(r.memlock);
	for (int n = 0; n <= r.twice && !answer.err; n++) {
		mr[n] = ibv_reg_mr_iova2(pd, r.addr, r.len,
					 (uintptr_t)r.addr + r.iova_offset,
					 r.access | path_flag);
		if (!mr[n])
			answer.err = errno;
	}
	for (int n = 0; n < 2; n++)
		if (mr[n] && ibv_dereg_mr(mr[n]))
			die("ibv_dereg_mr: %m");
	answer.vmpin_kb = vmpin_kb();
	return answer;
}

static bool kernel_has_ranges(void)
{
	FILE *f = fopen("/proc/kallsyms", "r");
	char line[256];
	bool has = false;

	while (f && !has && fgets(line, sizeof(line), f))
		has = strstr(line, " pin_user_phyrs\n");
	if (f)
		fclose(f);
	return has;
}

static void run_case(const char *device, unsigned int i, const char *path,
		     unsigned int path_flag)
{
	struct pin_counters before = pin_counters_read(), after;
	/* Ranges need no struct page. */
	bool pageless = cases[i].prepare == no_struct_page && !strcmp(path, "phyr") &&
			kernel_has_ranges();
	int want = pageless ? 0 : cases[i].stock_errno;
	int report[2], release[2], status;
	struct answer answer;
	uint64_t taken, given;
	pid_t pid;
	char c;

	if (pipe(report) || pipe(release))
		die("pipe: %m");
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork: %m");
	if (!pid) {
		close(release[1]);
		answer = ask(device, i, path_flag);
		if (write(report[1], &answer, sizeof(answer)) != sizeof(answer) ||
		    read(release[0], &c, 1))
			_exit(1);
		_exit(0);
	}
	close(report[1]);
	close(release[0]);
	if (read(report[0], &answer, sizeof(answer)) != sizeof(answer)) {
		ktap_result(false, "%s %s: died", path, cases[i].name);
	} else if (answer.cant) {
		ktap_skip("no such memory here", "%s %s", path, cases[i].name);
	} else {
		/* The process is still there: it is not its exit that unpins. */
		after = pin_counters_read();
		taken = after.acquired - before.acquired;
		given = after.released - before.released;
		ktap_result(answer.err == want && !answer.vmpin_kb &&
			    taken == given,
			    "%s %s %s (stock %s), pins %llu taken %llu given back, VmPin %llu kB",
			    path, cases[i].name, errno_name(answer.err),
			    errno_name(cases[i].stock_errno), (unsigned long long)taken,
			    (unsigned long long)given, (unsigned long long)answer.vmpin_kb);
	}
	close(release[1]);
	close(report[0]);
	waitpid(pid, &status, 0);
}

int main(int argc, char **argv)
{
	const char *device = argc > 1 ? argv[1] : "rxe0";

	ktap_start();
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++)
		run_case(device, i, "phyr", 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++)
		run_case(device, i, "pages", IBV_ACCESS_PAGE_LIST);
	return ktap_finish();
}
