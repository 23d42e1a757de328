// SPDX-License-Identifier: GPL-2.0
/*
 * Has the kernel pin random spans of random memory by pin_user_phyrs() and by
 * pin_user_pages_fast() and compare: PIN_PHYRS_COMPARE_TEST of gup_test. What the
 * kernel returns is checked once more from here, by what is known of the memory
 * and by what /proc says of it.
 *
 * Spans come in rounds, each with an address space and a generator of its own, so
 * that one span is run again by what a mismatch prints: -s SEED -k SPAN makes the
 * round up to that span.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "gup.h"
#include "gup_test.h"
#include "memory.h"
#include "oracle_flags.h"
#include "oracle_space.h"

/* Spans to one in which only one of both fails, and not again */
#define RARELY 50000
/* By so many, chance has come across every kind of memory. */
#define ENOUGH_SPANS 50000

#define ROUND 1000
#define SPANS_TO_CHANGE 8
#define MAX_REPORTS 20
/* Pages of the spans that /proc/self/pagemap is asked about, and how many of those */
#define LOOK_PAGES 1024
#define LOOK_EVERY 8

static const char * const mismatches[] = {
	[PIN_PHYRS_SAME] = "same",
	[PIN_PHYRS_ERROR] = "another errno",
	[PIN_PHYRS_BYTES] = "another number of bytes",
	[PIN_PHYRS_PFN] = "another page frame",
	[PIN_PHYRS_ENDS] = "ends off by bytes",
	[PIN_PHYRS_MERGE] = "merged wrongly",
	[PIN_PHYRS_PINS] = "another number of pins",
	[PIN_PHYRS_LEFT] = "pins left",
};

static const int expected_errors[] = { 0, EFAULT, EOVERFLOW };

static struct options {
	uint64_t seed;
	unsigned long spans;
	long only;
	const char *spoil;
	const char *disk;
	bool kinds_only;
} opt = {
	.spans = 10000,
	.only = -1,
};

static int gup_test;

static struct tally {
	unsigned long spans, mismatches, reports, passing;
	unsigned long kinds[NR_KINDS];
	unsigned long errors[256];
	unsigned long looked;
	/* By powers of two: ranges of a span, and pages. */
	unsigned long ranges[32], pages[32];
	/* Between the calls for one span, and those that did not start a range. */
	unsigned long seams, merged;
	bool spoiled;
} tally;

static unsigned int log2_of(uint64_t n)
{
	return n ? 64 - __builtin_clzll(n) : 0;
}

static uint64_t pick_size(struct rng *rng)
{
	unsigned int how = rng_between(rng, 0, 999), bits;

	if (how < 5)
		return 0;
	if (how < 600)
		bits = rng_between(rng, 0, 17);
	else if (how < 900)
		bits = rng_between(rng, 12, 20);
	else if (how < 990)
		bits = rng_between(rng, 17, 22);
	else
		bits = rng_between(rng, 21, 24);
	return rng_between(rng, 1, 1ULL << bits);
}

static struct pin_phyrs_compare draw(struct rng *rng)
{
	struct pin_phyrs_compare c = { .addr = space_pick(rng), .size = pick_size(rng) };
	unsigned int r = rng_next(rng), s = rng_next(rng);

	/* Once in a while all that the kernel compares at once, if of few folios. */
	if (!rng_between(rng, 0, 9999) && space_is_giga(c.addr))
		c.size = PAGE_1G;
	else if (c.size && !(r & 3))
		c.size += -(c.addr + c.size) & (PAGE_4K - 1);
	if (r & 4)
		c.gup_flags |= FOLL_WRITE;
	if (r >> 3 & 1)
		c.gup_flags |= FOLL_LONGTERM;
	if (!(r >> 4 & 31))
		c.gup_flags |= FOLL_FORCE;
	if (!(r >> 9 & 31))
		c.gup_flags |= FOLL_HONOR_NUMA_FAULT;
	if (r >> 14 & 1)
		c.test_flags |= PIN_PHYRS_COMPARE_PAGES_FIRST;
	/* Only what was pinned for writing may be dirtied. */
	if (c.gup_flags & FOLL_WRITE && r >> 15 & 1)
		c.test_flags |= PIN_PHYRS_COMPARE_DIRTY;
	switch (s & 7) {
	case 0:
		c.step = rng_between(rng, 1, 64) * PAGE_4K;
		break;
	case 1:
		c.step = rng_between(rng, 1, 1ULL << rng_between(rng, 4, 20));
		break;
	}
	if (c.step && c.size / c.step > 64)
		c.step = c.size / 64;
	/*
	 * What runs past the last address is refused whole, by the call that does;
	 * for an empty span there is no call by pages.
	 */
	if (!space_has(c.addr)) {
		c.step = 0;
		c.size += !c.size;
	}
	if (!(s >> 3 & 3))
		c.max_phyrs = rng_between(rng, 1, 1ULL << rng_between(rng, 0, 6));
	return c;
}

#define HUGETLB_KINDS (1ULL << KIND_HUGE_2M_PRIVATE | 1ULL << KIND_HUGE_1G_PRIVATE)

/* What is known of a span before it is pinned. */
struct outlook {
	uint64_t kinds;
	/* Bytes up to the first byte that can't be pinned, or of all of it */
	uint64_t good;
	bool all_known;
	bool never;
};

static struct outlook look_ahead(const struct pin_phyrs_compare *c)
{
	struct outlook o = { .all_known = true };
	uint64_t addr = c->addr, left = c->size, bytes;

	for (; left; left -= bytes, addr += bytes) {
		struct page_state s = space_at(addr, &bytes);
		enum verdict v = space_verdict(s, c->gup_flags);

		if (bytes > left)
			bytes = left;
		o.kinds |= 1ULL << s.kind;
		if (s.kind != KIND_HOLE && s.kind < NR_MADE) {
			if (!s.prot)
				o.kinds |= 1ULL << KIND_NO_ACCESS;
			else if (s.prot == PROT_READ)
				o.kinds |= 1ULL << KIND_READ_ONLY;
			if (s.forked)
				o.kinds |= 1ULL << (s.kind == KIND_HUGE_2M_PRIVATE ?
						    KIND_FORKED_HUGE : KIND_FORKED);
		}
		if (o.never)
			continue;
		if (v == NEVER_PIN)
			o.never = true;
		else
			o.good += bytes;
		if (v == MAY_PIN)
			o.all_known = false;
	}
	return o;
}

static bool is_expected(int err)
{
	for (size_t i = 0; i < ARRAY_SIZE(expected_errors); i++)
		if (err == expected_errors[i])
			return true;
	return false;
}

static uint64_t pages_of(const struct pin_phyrs_compare *c)
{
	return c->size ? (c->addr % PAGE_4K + c->size + PAGE_4K - 1) / PAGE_4K : 0;
}

/* Returns what is wrong, or NULL. */
static const char *judge(const struct pin_phyrs_compare *c, const struct outlook *o, bool look)
{
	static char text[128];
	uint64_t ranges;

	if (c->mismatch) {
		snprintf(text, sizeof(text), "%s at offset %#llx",
			 c->mismatch < ARRAY_SIZE(mismatches) ? mismatches[c->mismatch] : "unknown",
			 c->where);
		return text;
	}
	if (!is_expected(-c->error))
		return "an errno that nothing explains";
	if (c->bytes > c->size || (c->size && !c->error != (c->bytes == c->size)))
		return "errno and bytes don't agree";
	if (!c->nr_phyrs != !c->bytes || c->nr_phyrs > pages_of(c))
		return "ranges and bytes don't agree";
	if (o->never && (!c->error || c->bytes > o->good))
		return "pinned what can't be";
	if (o->all_known && c->bytes < o->good) {
		snprintf(text, sizeof(text), "not pinned, but could be: offset %#llx of %#llx good bytes",
			 c->bytes, (unsigned long long)o->good);
		return text;
	}
	if (look && !c->error && c->size && pages_of(c) <= LOOK_PAGES) {
		tally.looked++;
		ranges = count_ranges((void *)c->addr, c->size);
		if (ranges != c->nr_phyrs) {
			snprintf(text, sizeof(text), "/proc/self/pagemap has %llu ranges",
				 (unsigned long long)ranges);
			return text;
		}
	}
	return NULL;
}

static void print_memory(const struct pin_phyrs_compare *c)
{
	uint64_t addr = c->addr, left = c->size, bytes;
	unsigned int runs = 0;

	printf("#   memory:");
	for (; left && runs < 40; left -= bytes, addr += bytes, runs++) {
		struct page_state s = space_at(addr, &bytes);

		if (bytes > left)
			bytes = left;
		printf(" +%#llx %s%s%s%s", (unsigned long long)(addr - c->addr), kind_names[s.kind],
		       s.prot & PROT_READ ? "" : "(none)", s.prot == PROT_READ ? "(ro)" : "",
		       s.forked ? "(forked)" : "");
	}
	puts(left ? " ..." : "");
}

static void print_span(const struct pin_phyrs_compare *c)
{
	printf("#   addr=%#llx size=%#llx step=%#llx max_phyrs=%u flags=%s%s%s%s%s%s\n",
	       c->addr, c->size, c->step, c->max_phyrs,
	       c->gup_flags & FOLL_WRITE ? "WRITE," : "",
	       c->gup_flags & FOLL_LONGTERM ? "LONGTERM," : "",
	       c->gup_flags & FOLL_FORCE ? "FORCE," : "",
	       c->gup_flags & FOLL_HONOR_NUMA_FAULT ? "HONOR_NUMA_FAULT," : "",
	       c->test_flags & PIN_PHYRS_COMPARE_PAGES_FIRST ? "pages-first," : "",
	       c->test_flags & PIN_PHYRS_COMPARE_DIRTY ? "dirty," : "");
	printf("#   errno=%s bytes=%#llx ranges=%llu mismatch=%u where=%#llx\n",
	       errno_name(-c->error), c->bytes, c->nr_phyrs, c->mismatch, c->where);
}

/* Makes one result wrong, as if the kernel had been. */
static void spoil(struct pin_phyrs_compare *c)
{
	if (tally.spoiled || c->error || c->nr_phyrs < 2 || pages_of(c) > LOOK_PAGES)
		return;
	tally.spoiled = true;
	if (!strcmp(opt.spoil, "errno"))
		c->error = -EIO;
	else if (!strcmp(opt.spoil, "bytes"))
		c->bytes--;
	else if (!strcmp(opt.spoil, "ranges"))
		c->nr_phyrs--;
	else
		c->mismatch = PIN_PHYRS_PFN;
}

static void add_up(const struct pin_phyrs_compare *c, const struct outlook *o)
{
	uint64_t calls = c->step ? (c->size + c->step - 1) / c->step : 1;

	tally.spans++;
	for (uint64_t kinds = o->kinds; kinds; kinds &= kinds - 1)
		tally.kinds[__builtin_ctzll(kinds)]++;
	tally.errors[-c->error & 255]++;
	tally.pages[log2_of(pages_of(c))]++;
	if (c->error)
		return;
	tally.ranges[log2_of(c->nr_phyrs)]++;
	if (calls > 1) {
		tally.seams += calls - 1;
		if (c->nr_phyrs < calls)
			tally.merged += calls - c->nr_phyrs;
	}
}

static void compare(struct pin_phyrs_compare *c, unsigned long i)
{
	if (!ioctl(gup_test, PIN_PHYRS_COMPARE_TEST, c))
		return;
	print_span(c);
	print_memory(c);
	die("PIN_PHYRS_COMPARE_TEST: %s (-s %#llx -k %lu)", errno_name(errno),
	    (unsigned long long)opt.seed, i);
}

/*
 * Migrating memory out of the way of FOLL_LONGTERM fails for one of both while
 * somebody else, such as the swap, holds a page for a moment; not twice in a row.
 */
static bool passes(struct pin_phyrs_compare *c, const struct outlook *o, unsigned long i)
{
	struct pin_phyrs_compare again = *c;

	if (c->mismatch != PIN_PHYRS_ERROR || !(c->gup_flags & FOLL_LONGTERM))
		return false;
	compare(&again, i);
	if (judge(&again, o, false))
		return false;
	*c = again;
	tally.passing++;
	return true;
}

static void run_span(unsigned long i, struct rng *rng)
{
	struct pin_phyrs_compare c = draw(rng);
	struct outlook o = look_ahead(&c);
	const char *what;

	/*
	 * GUP never ends, until killed, when forced to write to a read-only private
	 * hugetlb page that soft-dirty tracking has cleared: the stock kernel as ours.
	 */
	if (o.kinds & HUGETLB_KINDS && c.gup_flags & FOLL_FORCE) {
		c.gup_flags &= ~FOLL_FORCE;
		o = look_ahead(&c);
	}
	compare(&c, i);
	if (opt.spoil)
		spoil(&c);
	what = judge(&c, &o, opt.spoil || i % LOOK_EVERY == 0);
	if (what && !opt.spoil && passes(&c, &o, i))
		what = NULL;
	add_up(&c, &o);
	if (what)
		tally.mismatches++;
	if ((what && tally.reports++ < MAX_REPORTS) || opt.only == (long)i) {
		printf("# span %lu: %s (phyr_oracle -s %#llx -k %lu)\n", i,
		       what ? what : "as it should be", (unsigned long long)opt.seed, i);
		print_span(&c);
		print_memory(&c);
	}
}

static void run_spans(void)
{
	unsigned long i = 0, end = opt.spans;
	struct rng rng;
	char name[32];

	if (opt.only >= 0) {
		i = opt.only / ROUND * ROUND;
		end = opt.only + 1;
	}
	for (; i < end; i++) {
		if (i % ROUND == 0) {
			snprintf(name, sizeof(name), "round %lu", i / ROUND);
			rng = rng_named(opt.seed, name);
			space_make(&rng, i / ROUND);
		} else if (i % SPANS_TO_CHANGE == 0) {
			space_change(&rng);
		}
		run_span(i, &rng);
	}
	space_leave();
}

/* Makes each kind once and looks at what it is. */
static void check_kinds(void)
{
	struct rng rng = rng_named(opt.seed, "kinds");
	unsigned char *at;
	const char *why;
	char text[160];
	size_t len;
	bool good;

	for (int kind = 0; kind < NR_MADE; kind++) {
		why = space_make_one(kind, &rng, &at, &len);
		if (why) {
			ktap_skip(why, "%s is what it is said to be", kind_names[kind]);
			continue;
		}
		good = memory_verify(kind, at, len, text, sizeof(text));
		ktap_note("%s: %s", kind_names[kind], text);
		ktap_result(good, "%s is what it is said to be", kind_names[kind]);
	}
}

static void print_histogram(const char *what, const unsigned long *counts)
{
	printf("# %s:", what);
	for (unsigned int i = 0; i < 32; i++)
		if (counts[i])
			printf(" %s%llu: %lu", i > 1 ? "<" : "", i > 1 ? 1ULL << i : (unsigned long long)i,
			       counts[i]);
	putchar('\n');
}

static void report(void)
{
	bool expected = true;

	printf("# errors:");
	for (int err = 0; err < 256; err++) {
		if (!tally.errors[err])
			continue;
		printf(" %s: %lu", errno_name(err), tally.errors[err]);
		expected &= is_expected(err);
	}
	putchar('\n');
	print_histogram("pages of a span", tally.pages);
	print_histogram("ranges of a span", tally.ranges);
	ktap_note("%lu seams between calls, at least %lu of them inside a range; %lu spans compared with pagemap",
		  tally.seams, tally.merged, tally.looked);
	ktap_note("figure: pin-oracle: spans=%lu mismatches=%lu seed=%#llx", tally.spans,
		  tally.mismatches, (unsigned long long)opt.seed);
	ktap_result(!tally.mismatches, "%lu spans, %lu mismatches", tally.spans, tally.mismatches);
	ktap_result(expected, "no errno that nothing explains");
	ktap_result(tally.passing <= 1 + tally.spans / RARELY,
		    "%lu times one of both failed, and not again", tally.passing);
	for (int kind = 0; kind < NR_KINDS; kind++) {
		if (space_missing[kind])
			ktap_skip(space_missing[kind], "spans over %s", kind_names[kind]);
		else if (!tally.kinds[kind] && tally.spans < ENOUGH_SPANS)
			ktap_skip("too few spans to meet all", "spans over %s",
				  kind_names[kind]);
		else
			ktap_result(tally.kinds[kind], "%lu spans over %s", tally.kinds[kind],
				    kind_names[kind]);
	}
}

/* Whether the kernel has it at all; a stock one has not. */
static bool can_compare(void)
{
	struct pin_phyrs_compare c = { .addr = (uintptr_t)&c, .size = 1 };

	gup_test = gup_open();
	return !ioctl(gup_test, PIN_PHYRS_COMPARE_TEST, &c);
}

int main(int argc, char **argv)
{
	int c;

	opt.seed = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
	while ((c = getopt(argc, argv, "s:n:k:B:f:K")) != -1) {
		switch (c) {
		case 's':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			opt.spans = strtoul(optarg, NULL, 0);
			break;
		case 'k':
			opt.only = strtol(optarg, NULL, 0);
			break;
		case 'B':
			opt.spoil = optarg;
			break;
		case 'f':
			opt.disk = optarg;
			break;
		case 'K':
			opt.kinds_only = true;
			break;
		default:
			fputs("phyr_oracle [-s SEED] [-n SPANS] [-k SPAN] [-f DIRECTORY]\n"
			      "  -f  in a file system that is on a disk\n"
			      "  -k  this span, after what comes before it in its round\n"
			      "  -K  only see that each kind of memory is what it should be\n"
			      "  -B mismatch|errno|bytes|ranges  spoil one result: it must be noticed\n",
			      stderr);
			return 2;
		}
	}

	ktap_start();
	ktap_note("seed %#llx", (unsigned long long)opt.seed);
	memory_open(opt.disk);
	if (opt.kinds_only) {
		check_kinds();
		return ktap_finish();
	}
	if (!can_compare()) {
		ktap_result(false, "this kernel's gup_test has PIN_PHYRS_COMPARE_TEST");
		return ktap_finish();
	}
	run_spans();
	if (opt.only < 0)
		report();
	else
		ktap_result(!tally.mismatches, "span %ld", opt.only);
	return ktap_finish();
}
