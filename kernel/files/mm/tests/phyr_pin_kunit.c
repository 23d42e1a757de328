// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of pin_user_phyrs(): what it returns is held against what
 * pin_user_pages_fast() returns for the same bytes, over anonymous memory mapped
 * in every way, and over the seams of a pin session: arrays that are full, calls
 * that continue others, stretches that take the slow path or are undone.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/moduleparam.h>
#include <linux/phyr_pin.h>
#include <linux/pgtable.h>
#include <linux/prandom.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

static unsigned int spans = 400;
module_param(spans, uint, 0644);
MODULE_PARM_DESC(spans, "Number of random spans to compare");

static unsigned long long seed;
module_param(seed, ullong, 0644);
MODULE_PARM_DESC(seed, "Seed of the random spans, 0 to take a new one");

/* Four parts of one PMD each, see phyr_pin_fault(). */
#define PMD_PAGES	(PMD_SIZE / PAGE_SIZE)
#define AREA_PARTS	4
#define AREA_SIZE	(AREA_PARTS * PMD_SIZE)
#define AREA_PAGES	(AREA_SIZE / PAGE_SIZE)

struct phyr_pin_ctx {
	struct rnd_state rnd;
	unsigned long area;
	struct phyr *phyrs;
	unsigned long nr;
	struct page **pages;
};

static u32 below(struct phyr_pin_ctx *ctx, u32 n)
{
	return prandom_u32_state(&ctx->rnd) % n;
}

static void touch(struct kunit *test, unsigned long addr)
{
	KUNIT_ASSERT_EQ(test, put_user(1, (char __user *)addr), 0);
}

static unsigned long map_area(struct kunit *test, size_t len, unsigned long prot)
{
	unsigned long addr;

	addr = kunit_vm_mmap(test, NULL, 0, len, prot,
			     MAP_PRIVATE | MAP_ANONYMOUS, 0);
	KUNIT_ASSERT_NE(test, addr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(addr));
	return addr;
}

static int phyr_pin_test_init(struct kunit *test)
{
	struct phyr_pin_ctx *ctx;

	if (PMD_SIZE > SZ_32M)
		kunit_skip(test, "takes too much memory with pages of this size");

	ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ctx);
	ctx->phyrs = kvmalloc_array(AREA_PAGES, sizeof(*ctx->phyrs), GFP_KERNEL);
	ctx->pages = kvmalloc_array(AREA_PAGES, sizeof(*ctx->pages), GFP_KERNEL);
	test->priv = ctx;
	KUNIT_ASSERT_NOT_NULL(test, ctx->phyrs);
	KUNIT_ASSERT_NOT_NULL(test, ctx->pages);

	ctx->area = ALIGN(map_area(test, AREA_SIZE + PMD_SIZE,
				   PROT_READ | PROT_WRITE), PMD_SIZE);
	return 0;
}

static void advise(struct kunit *test, unsigned long start, size_t len,
		   int advice)
{
	KUNIT_ASSERT_EQ(test, do_madvise(current->mm, start, len, advice), 0);
}

/* Huge pages for the parts in the middle, or for none, while they are touched. */
static void advise_huge(struct kunit *test, struct phyr_pin_ctx *ctx, bool huge)
{
	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		return;
	advise(test, ctx->area, AREA_SIZE, MADV_NOHUGEPAGE);
	if (huge)
		advise(test, ctx->area + PMD_SIZE, 2 * PMD_SIZE, MADV_HUGEPAGE);
}

static void phyr_pin_test_exit(struct kunit *test)
{
	struct phyr_pin_ctx *ctx = test->priv;

	if (!ctx)
		return;
	kvfree(ctx->phyrs);
	kvfree(ctx->pages);
}

/*
 * Small pages with holes; a PMD; a PMD that has been split and has holes; small
 * pages in a row.
 */
static void phyr_pin_fault(struct kunit *test, struct phyr_pin_ctx *ctx)
{
	unsigned long part = ctx->area;
	unsigned long addr;
	unsigned int i;

	advise(test, ctx->area, AREA_SIZE, MADV_DONTNEED);
	advise_huge(test, ctx, true);
	for (i = 0; i < PMD_PAGES / 2; i++)
		touch(test, part + below(ctx, PMD_PAGES) * PAGE_SIZE);

	part += PMD_SIZE;
	touch(test, part);

	part += PMD_SIZE;
	touch(test, part);
	for (i = 0; i < 4; i++)
		advise(test, part + below(ctx, PMD_PAGES) * PAGE_SIZE, PAGE_SIZE,
		       MADV_DONTNEED);

	part += PMD_SIZE;
	for (addr = part; addr < part + PMD_SIZE; addr += PAGE_SIZE)
		touch(test, addr);
	/* The holes are to stay holes. */
	advise_huge(test, ctx, false);
}

/* Pin by ranges, @max of them to an array and @step bytes to a call. */
static int pin_phyrs(struct phyr_pin_ctx *ctx, unsigned long start, size_t len,
		     unsigned int flags, unsigned int max, size_t step,
		     u64 *bytes)
{
	struct phyr_pin pin;
	int ret = 0;

	ctx->nr = 0;
	phyr_pin_init(&pin, ctx->phyrs, min(max, AREA_PAGES));
	while (pin.bytes < len) {
		ret = pin_user_phyrs(&pin, start + pin.bytes,
				     min(step, len - (size_t)pin.bytes), flags);
		if (!ret)
			continue;
		if (ret != -ENOSPC || ctx->nr + pin.nr == AREA_PAGES)
			break;
		ctx->nr += pin.nr;
		phyr_pin_continue(&pin, ctx->phyrs + ctx->nr,
				  min(max, AREA_PAGES - ctx->nr));
	}
	ctx->nr += pin.nr;
	*bytes = pin.bytes;
	return ret;
}

static long pin_pages(struct phyr_pin_ctx *ctx, unsigned long start, size_t len,
		      unsigned int flags)
{
	unsigned long first = start & PAGE_MASK;
	long nr = (PAGE_ALIGN(start + len) - first) >> PAGE_SHIFT;
	long done = 0;

	while (done < nr) {
		int ret = pin_user_pages_fast(first + done * PAGE_SIZE,
					      nr - done, flags,
					      ctx->pages + done);

		if (ret <= 0) {
			unpin_user_pages(ctx->pages, done);
			return ret;
		}
		done += ret;
	}
	return nr;
}

static void expect_same(struct kunit *test, struct phyr_pin_ctx *ctx,
			unsigned long start, size_t len)
{
	unsigned long page = 0, i;
	size_t sum = 0;

	for (i = 0; i < ctx->nr; i++) {
		const struct phyr *phyr = &ctx->phyrs[i];
		unsigned long pfn;

		for (pfn = phyr_pfn(phyr); pfn < phyr_end_pfn(phyr); pfn++)
			KUNIT_ASSERT_EQ(test, pfn,
					page_to_pfn(ctx->pages[page++]));
		sum += phyr->len;
		if (i)
			KUNIT_ASSERT_FALSE(test, phyr_mergeable(phyr - 1,
								phyr->addr,
								phyr->len));
	}
	KUNIT_ASSERT_EQ(test, sum, len);
	KUNIT_ASSERT_EQ(test, offset_in_page(ctx->phyrs[0].addr),
			offset_in_page(start));
}

/* Pins on a folio, give or take references that come and go. */
static int pins(struct folio *folio)
{
	if (folio_has_pincount(folio))
		return atomic_read(&folio->_pincount);
	return (folio_ref_count(folio) + GUP_PIN_COUNTING_BIAS / 2) /
		GUP_PIN_COUNTING_BIAS;
}

static int ranges_over(struct phyr_pin_ctx *ctx, struct folio *folio)
{
	unsigned long first = folio_pfn(folio);
	unsigned long end = first + folio_nr_pages(folio);
	unsigned long i;
	int nr = 0;

	for (i = 0; i < ctx->nr; i++)
		nr += phyr_pfn(&ctx->phyrs[i]) < end &&
		      phyr_end_pfn(&ctx->phyrs[i]) > first;
	return nr;
}

static void phyr_pin_random_test(struct kunit *test)
{
	struct phyr_pin_ctx *ctx = test->priv;
	u64 s = seed ?: get_random_u64();
	unsigned int i;

	kunit_info(test, "seed=%llu spans=%u\n", s, spans);
	prandom_seed_state(&ctx->rnd, s);

	for (i = 0; i < spans; i++) {
		u32 off = below(ctx, AREA_SIZE - 1);
		size_t len = 1 + below(ctx, AREA_SIZE - off);
		unsigned int flags = below(ctx, 2) ? FOLL_WRITE : 0;
		bool slow = !below(ctx, 4), pages_first = below(ctx, 2);
		size_t step = below(ctx, 2) ? SIZE_MAX : 1 + below(ctx, SZ_1M);
		unsigned int max = below(ctx, 2) ? 1 + below(ctx, 4) : UINT_MAX;
		unsigned long start = ctx->area + off;
		struct folio *folio;
		long nr;
		u64 bytes;

		/* Many small calls into a long span take for ever. */
		if (below(ctx, 4))
			len = min_t(size_t, len, 1 + below(ctx, SZ_64K));
		if (below(ctx, 2))
			flags |= FOLL_LONGTERM;
		if (!(i % 16))
			phyr_pin_fault(test, ctx);

		if (pages_first) {
			nr = pin_pages(ctx, start, len, flags);
			KUNIT_ASSERT_GT(test, nr, 0);
			unpin_user_pages(ctx->pages, nr);
		}

		/* As if a fork() was under way: the fast walk does not start. */
		if (slow)
			raw_write_seqcount_begin(&current->mm->write_protect_seq);
		nr = pin_phyrs(ctx, start, len, flags, max, step, &bytes);
		if (slow)
			raw_write_seqcount_end(&current->mm->write_protect_seq);
		KUNIT_ASSERT_EQ(test, nr, 0);
		KUNIT_ASSERT_EQ(test, bytes, len);

		folio = page_folio(pfn_to_page(phyr_pfn(&ctx->phyrs[below(ctx, ctx->nr)])));
		if (!is_zero_folio(folio))
			KUNIT_ASSERT_EQ(test, pins(folio), ranges_over(ctx, folio));

		nr = pin_pages(ctx, start, len, flags);
		KUNIT_ASSERT_GT(test, nr, 0);
		expect_same(test, ctx, start, len);

		unpin_user_phyrs(ctx->phyrs, ctx->nr, flags & FOLL_WRITE);
		folio = page_folio(ctx->pages[below(ctx, nr)]);
		folio_get(folio);
		unpin_user_pages(ctx->pages, nr);
		if (!is_zero_folio(folio))
			KUNIT_ASSERT_EQ(test, pins(folio), 0);
		folio_put(folio);
	}
}

/* What fork() does to the fast walk, without the rest of it. */
static int fork_often(void *mm)
{
	while (!kthread_should_stop()) {
		raw_write_seqcount_begin(&((struct mm_struct *)mm)->write_protect_seq);
		cpu_relax();
		raw_write_seqcount_end(&((struct mm_struct *)mm)->write_protect_seq);
		/* Shorter than most walks, longer than some. */
		udelay(get_random_u32_below(4));
		cond_resched();
	}
	return 0;
}

/* Walks that are undone leave no pin and no byte behind. */
static void phyr_pin_undo_test(struct kunit *test)
{
	struct phyr_pin_ctx *ctx = test->priv;
	struct task_struct *forker;
	unsigned int failed = 0;
	unsigned int i;
	long nr;

	if (num_online_cpus() < 2)
		kunit_skip(test, "takes two CPUs");

	prandom_seed_state(&ctx->rnd, seed ?: get_random_u64());
	phyr_pin_fault(test, ctx);
	forker = kthread_run(fork_often, current->mm, "phyr_pin_fork");
	KUNIT_ASSERT_FALSE(test, IS_ERR(forker));

	/* No assertions before the thread has been stopped. */
	for (i = 0; i < spans; i++) {
		u32 off = below(ctx, AREA_SIZE - 1);
		size_t len = 1 + below(ctx, AREA_SIZE - off);
		unsigned int max = below(ctx, 2) ? 1 + below(ctx, 4) : UINT_MAX;
		size_t step = below(ctx, 2) ? SIZE_MAX : SZ_64K + below(ctx, SZ_1M);
		u64 bytes;

		failed += pin_phyrs(ctx, ctx->area + off, len, FOLL_WRITE, max,
				    step, &bytes) || bytes != len;
		unpin_user_phyrs(ctx->phyrs, ctx->nr, true);
	}
	kthread_stop(forker);
	KUNIT_EXPECT_EQ(test, failed, 0);

	nr = pin_pages(ctx, ctx->area, AREA_SIZE, FOLL_WRITE);
	KUNIT_ASSERT_EQ(test, nr, AREA_PAGES);
	for (i = 0; i < nr; i++) {
		struct folio *folio = page_folio(ctx->pages[i]);
		unsigned int want = 0;
		unsigned long j;

		/* The pages of a folio are as far apart as it is large, or less. */
		for (j = i - min(i, folio_nr_pages(folio)); j < nr &&
		     j < i + folio_nr_pages(folio); j++)
			want += page_folio(ctx->pages[j]) == folio;
		KUNIT_EXPECT_EQ(test, pins(folio), want);
	}
	unpin_user_pages(ctx->pages, nr);
}

/* One range and one pin, whichever way a PMD-mapped folio is come by. */
static void phyr_pin_pmd_test(struct kunit *test)
{
	struct phyr_pin_ctx *ctx = test->priv;
	unsigned long start = ctx->area + PMD_SIZE;
	struct folio *folio;
	size_t step;
	u64 bytes;

	if (!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE))
		kunit_skip(test, "no transparent hugepages");

	for (step = PMD_SIZE; step >= PAGE_SIZE; step /= 8) {
		advise(test, start, PMD_SIZE, MADV_DONTNEED);
		advise_huge(test, ctx, true);
		KUNIT_ASSERT_EQ(test, pin_phyrs(ctx, start + 3, PMD_SIZE - 7,
						FOLL_WRITE, 1, step - 1,
						&bytes), 0);
		folio = page_folio(pfn_to_page(phyr_pfn(&ctx->phyrs[0])));
		if (folio_nr_pages(folio) != PMD_PAGES) {
			unpin_user_phyrs(ctx->phyrs, ctx->nr, true);
			kunit_skip(test, "no huge page to be had");
		}
		KUNIT_EXPECT_EQ(test, ctx->nr, 1);
		KUNIT_EXPECT_EQ(test, ctx->phyrs[0].len, PMD_SIZE - 7);
		KUNIT_EXPECT_EQ(test, ctx->phyrs[0].addr,
				PFN_PHYS(folio_pfn(folio)) + 3);
		KUNIT_EXPECT_EQ(test, atomic_read(&folio->_pincount), 1);
		unpin_user_phyrs(ctx->phyrs, ctx->nr, true);
		KUNIT_EXPECT_EQ(test, atomic_read(&folio->_pincount), 0);
	}
}

static void phyr_pin_error_test(struct kunit *test)
{
	struct phyr_pin_ctx *ctx = test->priv;
	unsigned long ro = map_area(test, 2 * PAGE_SIZE, PROT_READ);
	unsigned long none = map_area(test, 2 * PAGE_SIZE, PROT_NONE);
	unsigned long hole = ctx->area + 8 * PAGE_SIZE;
	struct phyr_pin pin;
	unsigned int i;
	u64 bytes;

	KUNIT_EXPECT_EQ(test, pin_phyrs(ctx, ro + 1, 1, FOLL_WRITE, 8, SIZE_MAX,
					&bytes), -EFAULT);
	KUNIT_EXPECT_EQ(test, bytes, 0);
	KUNIT_EXPECT_EQ(test, ctx->nr, 0);
	KUNIT_EXPECT_EQ(test, pin_phyrs(ctx, none + 1, 1, 0, 8, SIZE_MAX,
					&bytes), -EFAULT);
	KUNIT_EXPECT_EQ(test, bytes, 0);

	/* No length, no room, and addresses that there can't be. */
	phyr_pin_init(&pin, ctx->phyrs, 0);
	KUNIT_EXPECT_EQ(test, pin_user_phyrs(&pin, ctx->area, 0, 0), 0);
	KUNIT_EXPECT_EQ(test, pin_user_phyrs(&pin, ctx->area, 1, FOLL_WRITE),
			-ENOSPC);
	KUNIT_EXPECT_EQ(test, pin_user_phyrs(&pin, ctx->area, SIZE_MAX, 0),
			-EOVERFLOW);
	KUNIT_EXPECT_EQ(test, pin_user_phyrs(&pin, TASK_SIZE_MAX - 1, 2, 0),
			-EFAULT);
	KUNIT_EXPECT_EQ(test, pin.nr, 0);
	KUNIT_EXPECT_EQ(test, pin.bytes, 0);

	/* What precedes an error stays, up to the border of a page. */
	KUNIT_ASSERT_EQ(test, vm_munmap(hole, PAGE_SIZE), 0);
	for (i = 0; i < 8; i += 7) {
		unsigned long start = ctx->area + i * PAGE_SIZE + 5;

		KUNIT_EXPECT_EQ(test, pin_phyrs(ctx, start, 9 * PAGE_SIZE,
						FOLL_WRITE, 1, SIZE_MAX,
						&bytes), -EFAULT);
		KUNIT_EXPECT_EQ(test, bytes, hole - start);
		KUNIT_ASSERT_EQ(test, pin_pages(ctx, start, hole - start,
						FOLL_WRITE), 8 - i);
		expect_same(test, ctx, start, hole - start);
		unpin_user_pages(ctx->pages, 8 - i);
		unpin_user_phyrs(ctx->phyrs, ctx->nr, true);
	}
}

static struct kunit_case phyr_pin_test_cases[] = {
	KUNIT_CASE(phyr_pin_error_test),
	KUNIT_CASE(phyr_pin_pmd_test),
	KUNIT_CASE_SLOW(phyr_pin_random_test),
	KUNIT_CASE_SLOW(phyr_pin_undo_test),
	{}
};

static struct kunit_suite phyr_pin_test_suite = {
	.name = "phyr_pin",
	.init = phyr_pin_test_init,
	.exit = phyr_pin_test_exit,
	.test_cases = phyr_pin_test_cases,
};

kunit_test_suite(phyr_pin_test_suite);
