// SPDX-License-Identifier: GPL-2.0
/*
 * DMA by a real bus master, QEMU's edu device, to and from memory that is pinned and
 * mapped by ranges: the device copies random spans over every kind of memory, and
 * what it has written is compared, together with what lies around it. How many
 * ranges the device saw depends on the mode that the guest was booted in:
 *
 *   translated   an IOMMU makes one range of any buffer
 *   passthrough  DMA addresses are the physical ones, and are not listed
 *   bounce       every DMA has to go through a bounce buffer, which is refused
 *
 * Last, the driver is taken from the device while it copies, and the device is given
 * too little time. Each time the driver has to do with it again afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "edu_phyr.h"
#include "memory.h"

#define AREA_LEN (8 * MiB)
#define MAX_SPAN (12 * KiB)
/* Bytes on either side of a span that must keep what they hold. */
#define GUARD PAGE_4K
#define LARGE (64 * MiB)
/* More often than the device's 28 bits of address space have room for it. */
#define REPEATS 6
#define DRIVER "/sys/bus/pci/drivers/edu_phyr"
#define DMA_DEBUG "/sys/kernel/debug/dma-api/dump"

enum mode { TRANSLATED, PASSTHROUGH, BOUNCE };

static const char * const modes[] = { "translated", "passthrough", "bounce" };
static const char * const kinds[] = {
	"4K", "4K-run", "shmem", "thp", "thp-split", "thp-moved", "2M", "mixed"
};

static struct {
	enum mode mode;
	int fd;
	char slot[32];
	struct rng rng;
	struct region region[ARRAY_SIZE(kinds)];
} edu;

/* Returns 0 or the errno. */
static int copy_bytes(void *dst, const void *src, size_t len, uint32_t flags,
		      struct edu_phyr_copy *said)
{
	struct edu_phyr_copy copy = {
		.src = (uintptr_t)src,
		.dst = (uintptr_t)dst,
		.len = len,
		.flags = flags,
	};
	int err = ioctl(edu.fd, EDU_PHYR_COPY, &copy) ? errno : 0;

	if (said)
		*said = copy;
	return err;
}

/* Is the number of DMA ranges, and whether there was a list, what the mode makes it? */
static bool side_is_right(const struct edu_phyr_side *side)
{
	bool debugged = !access(DMA_DEBUG, F_OK);

	if (edu.mode == TRANSLATED)
		return side->dma_phyrs == 1 && !side->flags;
	/* The debugging of DMA has each range kept. */
	return side->dma_phyrs == side->phyrs &&
	       side->flags == (debugged ? 0 : EDU_PHYR_IDENTITY);
}

/* Mostly up to, over or from a page border, which is where ranges may end. */
static size_t pick_offset(size_t len)
{
	size_t last = AREA_LEN - GUARD - len, off;

	if (!rng_between(&edu.rng, 0, 3))
		return rng_between(&edu.rng, GUARD, last);
	off = rng_between(&edu.rng, 2, AREA_LEN / PAGE_4K - 5) * PAGE_4K;
	off += PAGE_4K - rng_between(&edu.rng, 0, len < PAGE_4K ? len : PAGE_4K);
	return off < last ? off : last;
}

static size_t pick_length(void)
{
	switch (rng_between(&edu.rng, 0, 3)) {
	case 0:
		return rng_between(&edu.rng, 1, 16);
	case 1:
		return rng_between(&edu.rng, PAGE_4K - 2, PAGE_4K + 2);
	case 2:
		return rng_between(&edu.rng, 1, MAX_SPAN);
	}
	return rng_between(&edu.rng, 1, PAGE_4K);
}

/* One span; returns whether all is as it should be. */
static bool copy_span(bool spoil, uint64_t ranges[2])
{
	static unsigned char want_src[MAX_SPAN], want_dst[MAX_SPAN + 2 * GUARD];
	struct region *from = &edu.region[rng_between(&edu.rng, 0, ARRAY_SIZE(kinds) - 1)];
	struct region *to = &edu.region[rng_between(&edu.rng, 0, ARRAY_SIZE(kinds) - 1)];
	size_t len = pick_length();
	unsigned char *src = from->addr + pick_offset(len);
	unsigned char *dst = to->addr + pick_offset(len);
	struct edu_phyr_copy said;
	int err;

	rng_fill(&edu.rng, dst - GUARD, len + 2 * GUARD);
	rng_fill(&edu.rng, src, len);
	memcpy(want_dst, dst - GUARD, len + 2 * GUARD);
	memcpy(want_src, src, len);
	memcpy(want_dst + GUARD, src, len);

	/* What overlaps has no one right result: apart in one region, or not at all. */
	if (from == to && src < dst + len + GUARD && dst < src + len + GUARD)
		return copy_span(spoil, ranges);

	err = copy_bytes(dst, src, len, 0, &said);
	if (spoil)
		dst[(ssize_t)rng_between(&edu.rng, 0, len + 2 * GUARD - 1) - (ssize_t)GUARD] ^= 1;
	ranges[0] += said.src_side.phyrs + said.dst_side.phyrs;
	ranges[1] += said.src_side.dma_phyrs + said.dst_side.dma_phyrs;
	if (!err && side_is_right(&said.src_side) && side_is_right(&said.dst_side) &&
	    !memcmp(src, want_src, len) && !memcmp(dst - GUARD, want_dst, len + 2 * GUARD))
		return true;
	if (!spoil)
		ktap_note("%zu bytes from %p to %p: %s, ranges %llu %llu, for DMA %llu %llu", len,
			  (void *)src, (void *)dst, errno_name(err),
			  (unsigned long long)said.src_side.phyrs,
			  (unsigned long long)said.dst_side.phyrs,
			  (unsigned long long)said.src_side.dma_phyrs,
			  (unsigned long long)said.dst_side.dma_phyrs);
	return false;
}

static void copy_spans(unsigned long spans)
{
	unsigned long bad = 0;
	uint64_t ranges[2] = { 0 }, ignored[2] = { 0 };

	for (unsigned long i = 0; i < spans; i++)
		bad += !copy_span(false, ranges);
	printf("# edu-dma: spans=%lu mismatches=%lu mode=%s phyrs=%llu dma_phyrs=%llu\n", spans, bad,
	       modes[edu.mode], (unsigned long long)ranges[0], (unsigned long long)ranges[1]);
	ktap_result(!bad, "%lu spans hold what the device was told to write", spans);
	ktap_result(ranges[0] > 2 * spans, "they lie in more ranges than there are ends: %llu",
		    (unsigned long long)ranges[0]);
	ktap_result(!copy_span(true, ignored), "a wrong byte in a span or beside it is seen");
}

/* Twice at a time, and nothing is copied: how many ranges are 64 MiB to the device? */
static void map_large(const char *kind, bool scattered)
{
	struct edu_phyr_copy said;
	struct region r;
	const char *why = region_create(&r, kind, LARGE, &edu.rng);
	const struct edu_phyr_side *side = &said.dst_side;
	size_t pages = LARGE / PAGE_4K;
	bool right = true;

	if (why)
		die("%s: %s", kind, why);
	for (int i = 0; right && i < REPEATS; i++)
		right = !copy_bytes(r.addr, r.addr, LARGE, EDU_PHYR_MAP_ONLY, &said) &&
			side_is_right(side) && side_is_right(&said.src_side);
	ktap_note("64 MiB of %s: %llu ranges, %llu for DMA", kind, (unsigned long long)side->phyrs,
		  (unsigned long long)side->dma_phyrs);
	ktap_result(right, "64 MiB of %s are mapped as they should be, time and again", kind);
	ktap_result(scattered ? side->phyrs > pages * 0.95 : side->phyrs <= LARGE / PAGE_2M,
		    "and are as many ranges as they should be");
	region_destroy(&r);
}

/*
 * An IOVA is aligned to its size, rounded up to a power of two. Of the 256 MiB that
 * 28 bits reach, only the upper half can be one: the lower has an end that nobody gets.
 */
static void map_crowded(void)
{
	const size_t fits = 100 * MiB, too_much = 160 * MiB;
	struct edu_phyr_copy said;
	struct region r;
	const char *why = region_create(&r, "4K", too_much, &edu.rng);
	int err;

	if (why)
		die("4K: %s", why);
	err = copy_bytes(r.addr, r.addr, fits, EDU_PHYR_MAP_ONLY, &said);
	ktap_result(!err && said.src_side.dma_phyrs == 1, "a large buffer has one IOVA: %s, %llu for DMA",
		    errno_name(err), (unsigned long long)said.src_side.dma_phyrs);
	ktap_result(!err && said.dst_side.dma_phyrs == said.dst_side.phyrs && !said.dst_side.flags,
		    "one for which that is taken has many: %llu ranges, %llu for DMA",
		    (unsigned long long)said.dst_side.phyrs, (unsigned long long)said.dst_side.dma_phyrs);
	err = copy_bytes(r.addr, r.addr, too_much, EDU_PHYR_MAP_ONLY, NULL);
	ktap_result(err == EIO, "one for which there is no room is refused: %s", errno_name(err));
	region_destroy(&r);
}

static void *map_pages(int prot)
{
	void *p = mmap(NULL, 2 * PAGE_4K, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap: %m");
	return p;
}

static void refuse(void)
{
	unsigned char *good = edu.region[0].addr, *read_only = map_pages(PROT_READ);
	unsigned char *half = map_pages(PROT_READ | PROT_WRITE);
	const struct {
		const char *what;
		unsigned char *dst, *src;
		size_t len;
		uint32_t flags;
		int want;
	} cases[] = {
		{ "no bytes", good, good, 0, 0, EINVAL },
		{ "more bytes than the driver takes", good, good, 2 * GiB, 0, EINVAL },
		{ "an unknown flag", good, good, 1, 1u << 31, EINVAL },
		{ "a source that is not there", good, half + PAGE_4K, 1, 0, EFAULT },
		{ "a source that ends too early", good, half, PAGE_4K + 1, 0, EFAULT },
		{ "a destination that is not there", half + PAGE_4K, good, 1, 0, EFAULT },
		{ "a destination that ends too early", half + 7, good, PAGE_4K, 0, EFAULT },
		{ "a destination that is read-only", read_only, good, 1, 0, EFAULT },
		{ "addresses of the kernel", (void *)-PAGE_2M, good, 1, 0, EFAULT },
	};

	munmap(half + PAGE_4K, PAGE_4K);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int err = copy_bytes(cases[i].dst, cases[i].src, cases[i].len, cases[i].flags, NULL);

		ktap_result(err == cases[i].want, "%s: %s", cases[i].what, errno_name(err));
	}
	munmap(half, PAGE_4K);
	munmap(read_only, 2 * PAGE_4K);
}

static void handle(int sig)
{
	(void)sig;
}

/* The device has 100 ms to go for every 4 KiB in each direction. */
static void interrupt(void)
{
	const struct itimerval soon = { .it_value.tv_usec = 300000 };
	const struct sigaction interrupting = { .sa_handler = handle };
	unsigned char *src = edu.region[0].addr, *dst = edu.region[1].addr;
	int err;

	sigaction(SIGALRM, &interrupting, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	err = copy_bytes(dst, src, AREA_LEN, 0, NULL);
	ktap_result(err == EINTR, "a signal ends a long copy: %s", errno_name(err));
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die("%s: %m", path);
	close(fd);
}

static void set_timeout(const char *ms)
{
	write_file("/sys/module/edu_phyr/parameters/timeout_ms", ms);
}

static void open_device(void)
{
	edu.fd = open("/dev/edu-phyr", O_RDWR | O_CLOEXEC);
	if (edu.fd < 0)
		die("/dev/edu-phyr: %m");
}

/* Of all devices of the kind the driver has one. */
static void find_device(void)
{
	glob_t found;

	if (glob(DRIVER "/*:*", 0, NULL, &found) || found.gl_pathc != 1)
		die(DRIVER " has not one device");
	snprintf(edu.slot, sizeof(edu.slot), "%s", strrchr(found.gl_pathv[0], '/') + 1);
	globfree(&found);
}

static void rebind(void)
{
	write_file(DRIVER "/unbind", edu.slot);
	write_file(DRIVER "/bind", edu.slot);
}

/* Without end the copy would take minutes. */
static void lose_driver(void)
{
	unsigned char *src = edu.region[0].addr, *dst = edu.region[1].addr;
	pid_t child = fork();
	int err, old = edu.fd;

	if (child < 0)
		die("fork: %m");
	if (!child) {
		usleep(300000);
		rebind();
		_exit(0);
	}
	err = copy_bytes(dst, src, AREA_LEN, 0, NULL);
	ktap_result(err == ENODEV, "a copy ends when the driver is taken away: %s", errno_name(err));
	waitpid(child, NULL, 0);
	err = copy_bytes(dst, src, 1, 0, NULL);
	ktap_result(err == ENODEV, "what was opened before is of no use: %s", errno_name(err));
	open_device();
	close(old);
	err = copy_bytes(dst, src, 1, 0, NULL);
	ktap_result(!err && dst[0] == src[0], "the driver is back: %s", errno_name(err));
}

/*
 * The first transfer, out of memory, has the usual time, the second one, into it, has
 * too little: it is under way when the memory is given back, and also when the driver
 * gets the device again.
 */
static void be_too_late(void)
{
	unsigned char *src = edu.region[0].addr, *dst = edu.region[1].addr;
	pid_t child;
	int err;

	memset(src, 1, PAGE_4K);
	memset(dst, 2, PAGE_4K);
	child = fork();
	if (child < 0)
		die("fork: %m");
	if (!child) {
		usleep(50000);
		set_timeout("20");
		_exit(0);
	}
	err = copy_bytes(dst, src, 64, 0, NULL);
	waitpid(child, NULL, 0);
	ktap_result(err == ETIMEDOUT, "a device that does not answer is given up: %s", errno_name(err));
	err = copy_bytes(dst, src, 1, 0, NULL);
	ktap_result(err == ENODEV, "and is not used again: %s", errno_name(err));
	set_timeout("10000");
	rebind();
	usleep(500000);
	ktap_result(dst[0] == 2 && !memcmp(dst, dst + 1, PAGE_4K - 1),
		    "and writes nothing later, when the driver is back");
	close(edu.fd);
	open_device();
	err = copy_bytes(dst, src, PAGE_4K, 0, NULL);
	ktap_result(!err && !memcmp(dst, src, PAGE_4K), "and is used then: %s", errno_name(err));
}

static void bounce(void)
{
	unsigned char *src = edu.region[0].addr, *dst = edu.region[1].addr;
	int err;

	memset(src, 1, AREA_LEN);
	memset(dst, 2, AREA_LEN);
	for (size_t len = 1; len <= AREA_LEN; len *= 128) {
		err = copy_bytes(dst, src, len, 0, NULL);
		ktap_result(err == EIO, "%zu bytes are refused: %s", len, errno_name(err));
	}
	err = copy_bytes(dst, src, AREA_LEN, EDU_PHYR_MAP_ONLY, NULL);
	ktap_result(err == EIO, "so is a mapping alone: %s", errno_name(err));
	ktap_result(dst[0] == 2 && !memcmp(dst, dst + 1, AREA_LEN - 1), "nothing was copied");
}

/* Those that a kernel with CONFIG_DMA_API_DEBUG knows of. */
static void count_mappings(void)
{
	FILE *f = fopen(DMA_DEBUG, "r");
	unsigned long left = 0;
	char line[256];

	if (!f)
		return;
	while (fgets(line, sizeof(line), f))
		left += !strncmp(line, "edu_phyr ", strlen("edu_phyr "));
	fclose(f);
	ktap_result(!left, "no mapping is left: %lu", left);
}

static void usage(void)
{
	die("usage: phyr_edu -m translated|passthrough|bounce [-n SPANS] [-s SEED]");
}

int main(int argc, char **argv)
{
	unsigned long spans = 300;
	uint64_t seed = 1;
	struct pin_counters before;
	int c;

	edu.mode = ARRAY_SIZE(modes);
	while ((c = getopt(argc, argv, "m:n:s:")) != -1) {
		switch (c) {
		case 'm':
			for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
				if (!strcmp(modes[i], optarg))
					edu.mode = i;
			break;
		case 'n':
			spans = strtoul(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		default:
			usage();
		}
	}
	if (edu.mode == ARRAY_SIZE(modes))
		usage();

	open_device();
	find_device();
	edu.rng = rng_named(seed, modes[edu.mode]);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const char *why = region_create(&edu.region[i], kinds[i], AREA_LEN, &edu.rng);

		if (why)
			die("%s: %s", kinds[i], why);
	}
	ktap_start();
	before = pin_counters_read();
	if (edu.mode == BOUNCE) {
		bounce();
	} else {
		refuse();
		ktap_note("seed=%llu", (unsigned long long)seed);
		copy_spans(spans);
		/* All room has to be there again afterwards. */
		if (edu.mode == TRANSLATED)
			map_crowded();
		map_large("4K", true);
		map_large("thp", false);
		interrupt();
		lose_driver();
		be_too_late();
	}
	count_mappings();
	ktap_result(!pins_held_since(before), "every pin was given back");
	return ktap_finish();
}
