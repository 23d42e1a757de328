// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of sg_map_phyrs(): ranges of every size and place against what is asked
 * of the entries that they become, and random ones against what
 * sg_alloc_append_table_from_pages() makes of the same memory.
 *
 * Most addresses are made up.  A struct page is computed for them, but not
 * looked at.
 */
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/phyr.h>
#include <linux/prandom.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>

static unsigned int cases = 20000;
module_param(cases, uint, 0644);
MODULE_PARM_DESC(cases, "Number of random lists to compare");

static unsigned long long seed;
module_param(seed, ullong, 0644);
MODULE_PARM_DESC(seed, "Seed of the random lists, 0 to take a new one");

/* Enough for lists of four chunks. */
#define MAX_RANGES	(3 * SG_MAX_SINGLE_ALLOC)

static phys_addr_t sg_start(struct scatterlist *sg)
{
	return PFN_PHYS(page_to_pfn(sg_page(sg))) + sg->offset;
}

static void skip_made_up(struct kunit *test)
{
	if (IS_ENABLED(CONFIG_SPARSEMEM) && !IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP))
		kunit_skip(test, "no struct page can be computed for these addresses");
}

static void skip_unchained(struct kunit *test)
{
	if (IS_ENABLED(CONFIG_ARCH_NO_SG_CHAIN))
		kunit_skip(test, "this architecture does not chain scatterlists");
}

/* What is asked for, and what it comes to. */
struct sg_phyr_limits {
	unsigned int max;
	unsigned long boundary;
};

/* Bytes up to the next boundary, 0 if that is all that there can be. */
static phys_addr_t to_boundary(phys_addr_t addr, const struct sg_phyr_limits *lim)
{
	return (phys_addr_t)lim->boundary + 1 - (addr & lim->boundary);
}

/* The longest segment at @addr, if those that are not the last end at @align. */
static size_t longest(phys_addr_t addr, size_t len,
		      const struct sg_phyr_limits *lim, unsigned long align)
{
	size_t most = ALIGN_DOWN(UINT_MAX, PAGE_SIZE) - offset_in_page(addr);
	phys_addr_t border = to_boundary(addr, lim);

	most = min_t(size_t, most, lim->max);
	if (border && border <= min(len, most))
		return border;
	if (len <= most)
		return len;
	return ALIGN_DOWN(addr + most, align) - addr;
}

static unsigned long count(struct phyr range, const struct sg_phyr_limits *lim,
			   unsigned long align)
{
	unsigned long n = 0;

	while (range.len) {
		size_t seg = longest(range.addr, range.len, lim, align);

		range.addr += seg;
		range.len -= seg;
		n++;
	}
	return n;
}

/* The rule for splits, by counting every segment: see sg_map_phyrs(). */
static unsigned long best_align(struct phyr range,
				const struct sg_phyr_limits *lim,
				unsigned long *fewest)
{
	unsigned long align = rounddown_pow_of_two(lim->max);

	*fewest = count(range, lim, PAGE_SIZE);
	while (count(range, lim, align) > *fewest + 2 + *fewest / 1024)
		align /= 2;
	return align;
}

/* Is this @range, byte by byte and split as it should be?  What follows in @sg. */
static const char *check_range(struct phyr range, struct scatterlist **sg,
			       const struct sg_phyr_limits *lim,
			       unsigned long *nents)
{
	unsigned long n, fewest, align = best_align(range, lim, &fewest);

	for (n = 0; range.len; n++, *sg = sg_next(*sg)) {
		phys_addr_t border = to_boundary(range.addr, lim);
		phys_addr_t end = range.addr + (*sg ? (*sg)->length : 0);

		if (!*sg)
			return "it ends early";
		if (sg_start(*sg) != range.addr)
			return "not the address that follows";
		if ((*sg)->offset >= PAGE_SIZE)
			return "an offset that is not within a page";
		if (!(*sg)->length || (*sg)->length > range.len)
			return "a length that is not in the range";
		if ((*sg)->length > lim->max)
			return "a segment above the maximum";
		if ((*sg)->length + (u64)(*sg)->offset > UINT_MAX - PAGE_SIZE + 1)
			return "offset + length above 32 bits";
		if (border && (*sg)->length > border)
			return "a segment across a boundary";
		if ((*sg)->length < range.len && (*sg)->length != border &&
		    !IS_ALIGNED(end, align))
			return "a split that is not aligned";
		range.len -= (*sg)->length;
		range.addr = end;
	}
	if (n < fewest || n > fewest + 2 + fewest / 1024)
		return "too many segments";
	/* What hugepages are for. */
	if (n > 1 && lim->max >= SZ_2G - 1 && lim->boundary >= SZ_2M - 1 &&
	    align < SZ_2M)
		return "borders of 2 MiB are not kept";
	*nents += n;
	return NULL;
}

static const char *check_table(struct sg_append_table *sgt,
			       const struct phyr *phyrs, unsigned long nr,
			       const struct sg_phyr_limits *lim, bool ends)
{
	struct scatterlist *sg = sgt->sgt.sgl;
	unsigned long i, nents = 0;

	for (i = 0; i < nr; i++) {
		const char *wrong = check_range(phyrs[i], &sg, lim, &nents);

		if (wrong)
			return wrong;
	}
	if (sgt->sgt.nents != nents || sgt->sgt.orig_nents != nents)
		return "a wrong number of entries";
	if (sgt->total_nents < nents)
		return "more entries than were allocated";
	if (!sgt->prv || sg_start(sgt->prv) + sgt->prv->length !=
			 phyrs[nr - 1].addr + phyrs[nr - 1].len)
		return "prv is not the last entry";
	if (ends != sg_is_last(sgt->prv))
		return ends ? "no end" : "an end where more may come";
	if (ends && sg)
		return "more than the ranges";
	return NULL;
}

/* In calls of @per_call ranges. */
static int map(struct sg_append_table *sgt, const struct phyr *phyrs,
	       unsigned long nr, unsigned long per_call,
	       const struct sg_phyr_limits *lim)
{
	while (nr) {
		unsigned long n = min(nr, per_call);
		int ret = sg_map_phyrs(sgt, phyrs, n, lim->max, lim->boundary,
				       nr - n, GFP_KERNEL);

		if (ret)
			return ret;
		phyrs += n;
		nr -= n;
	}
	return 0;
}

struct sg_phyr_case {
	const char *name;
	const struct phyr *phyrs;
	unsigned int nr;
	struct sg_phyr_limits lim;
	unsigned int nents;
	unsigned long align;	/* of all borders within ranges */
};

#define RANGES(...)						\
	.phyrs = (const struct phyr[]){ __VA_ARGS__ },		\
	.nr = sizeof((const struct phyr[]){ __VA_ARGS__ }) / sizeof(struct phyr)
#define NO_BOUNDARY	ULONG_MAX
#define G(n)		((n) * (u64)SZ_1G)
#define M(n)		((n) * (u64)SZ_1M)
#define P(n)		((n) * PAGE_SIZE)
#define MAX_4G		((unsigned int)(SZ_4G - PAGE_SIZE))

static const struct sg_phyr_case sg_phyr_cases[] = {
	{ "one byte", RANGES({ P(3) + 1, 1 }), { UINT_MAX, NO_BOUNDARY }, 1 },
	{ "one page", RANGES({ P(3), P(1) }), { PAGE_SIZE, PAGE_SIZE - 1 }, 1 },
	{ "a page, not aligned", RANGES({ P(3) + 7, P(1) }),
	  { PAGE_SIZE, NO_BOUNDARY }, 1 },
	{ "a page across the boundary", RANGES({ P(3) + 7, P(1) }),
	  { PAGE_SIZE, PAGE_SIZE - 1 }, 2, PAGE_SIZE },
	{ "two pages in a row", RANGES({ P(3), P(1) }, { P(4), P(1) }),
	  { UINT_MAX, NO_BOUNDARY }, 2 },
	{ "two pages backwards", RANGES({ P(4), P(1) }, { P(3), P(1) }),
	  { UINT_MAX, NO_BOUNDARY }, 2 },
	{ "the same page twice", RANGES({ P(4), P(1) }, { P(4), P(1) }),
	  { UINT_MAX, NO_BOUNDARY }, 2 },
	{ "odd ends", RANGES({ P(4) + 99, P(1) - 99 }, { P(9), P(2) }, { P(1), 5 }),
	  { UINT_MAX, NO_BOUNDARY }, 3 },
	{ "pages", RANGES({ P(8) + 1, P(4) }), { PAGE_SIZE, NO_BOUNDARY },
	  5, PAGE_SIZE },
	{ "a page and a byte at a time", RANGES({ P(8), P(4) }),
	  { PAGE_SIZE + 1, NO_BOUNDARY }, 4, PAGE_SIZE },
	{ "up to the maximum", RANGES({ 0, SZ_64K }), { SZ_64K, NO_BOUNDARY }, 1 },
	{ "a byte over it", RANGES({ 0, SZ_64K + 1 }), { SZ_64K, NO_BOUNDARY },
	  2, SZ_64K },
	{ "up to it, not aligned", RANGES({ 12345, SZ_64K }),
	  { SZ_64K, NO_BOUNDARY }, 1 },
	{ "2 MiB by 64 KiB", RANGES({ SZ_2M, SZ_2M }), { SZ_64K, NO_BOUNDARY },
	  32, SZ_64K },
	{ "the same, a page further on", RANGES({ SZ_2M + P(1), SZ_2M }),
	  { SZ_64K, NO_BOUNDARY }, 33, SZ_64K },
	{ "1 GiB", RANGES({ SZ_1G, SZ_1G }), { SZ_2G - 1, NO_BOUNDARY }, 1 },
	{ "1 GiB by 64 KiB", RANGES({ SZ_1G, SZ_1G }), { SZ_64K, NO_BOUNDARY },
	  SZ_1G / SZ_64K, SZ_64K },
	{ "a boundary that is met", RANGES({ SZ_1M, SZ_1M }),
	  { UINT_MAX, SZ_1M - 1 }, 1 },
	{ "a boundary in the middle", RANGES({ SZ_1M - 2, 4 }),
	  { UINT_MAX, SZ_1M - 1 }, 2, SZ_1M },
	{ "many boundaries", RANGES({ SZ_1M - 2, 4 + M(8) }),
	  { UINT_MAX, SZ_1M - 1 }, 10, SZ_1M },
	{ "boundaries wider than the maximum", RANGES({ SZ_1M - 2, 4 + M(2) }),
	  { SZ_512K + P(1), SZ_1M - 1 }, 6, SZ_512K },
	{ "2.25 GiB by 2 GiB", RANGES({ 0, SZ_2G + SZ_256M }),
	  { SZ_2G, NO_BOUNDARY }, 2, SZ_2G },
	{ "2.25 GiB by 2 GiB, with boundaries", RANGES({ SZ_1M, SZ_2G + SZ_256M }),
	  { SZ_2G, SZ_1G - 1 }, 3, SZ_1G },
	{ "4 GiB - 1 - 4 KiB", RANGES({ P(1), U32_MAX - P(1) }),
	  { UINT_MAX, NO_BOUNDARY }, 1 },
	{ "4 GiB - 1", RANGES({ 0, U32_MAX }), { UINT_MAX, NO_BOUNDARY }, 2, SZ_2G },
#if defined(CONFIG_64BIT) == defined(CONFIG_PHYS_ADDR_T_64BIT)
	{ "the last byte of all", RANGES({ PHYS_ADDR_MAX, 1 }),
	  { UINT_MAX, NO_BOUNDARY }, 1 },
	{ "up to it", RANGES({ PHYS_ADDR_MAX - SZ_2M, SZ_2M + 1 }),
	  { UINT_MAX, NO_BOUNDARY }, 1 },
	{ "up to it by 64 KiB", RANGES({ PHYS_ADDR_MAX - SZ_2M, SZ_2M + 1 }),
	  { SZ_64K, NO_BOUNDARY }, 33, SZ_64K },
	{ "up to it across boundaries", RANGES({ PHYS_ADDR_MAX - SZ_2M, SZ_2M + 1 }),
	  { SZ_2G, SZ_1M - 1 }, 3, SZ_1M },
#endif
#ifdef CONFIG_PHYS_ADDR_T_64BIT
	{ "across 4 GiB", RANGES({ G(4) - SZ_1M, SZ_2M }), { UINT_MAX, NO_BOUNDARY },
	  IS_ENABLED(CONFIG_64BIT) ? 1 : 2, SZ_2G },
	{ "across 4 GiB by 2 GiB", RANGES({ G(3), SZ_2G + SZ_1G }),
	  { SZ_2G, NO_BOUNDARY }, 2, SZ_2G },
#endif
#ifdef CONFIG_64BIT
	{ "4 GiB - 4 KiB", RANGES({ G(4), SZ_4G - P(1) }), { MAX_4G, NO_BOUNDARY }, 1 },
	{ "4 GiB - 4 KiB, not aligned", RANGES({ G(4) + 1, SZ_4G - P(1) }),
	  { MAX_4G, NO_BOUNDARY }, 2, SZ_2G },
	{ "4 GiB", RANGES({ G(4), SZ_4G }), { UINT_MAX, NO_BOUNDARY }, 2, SZ_2G },
	{ "4 GiB with the default of PCI", RANGES({ G(4), SZ_4G }),
	  { UINT_MAX, U32_MAX }, 2, SZ_2G },
	{ "6 GiB by 2 GiB - 1", RANGES({ G(64), G(6) }),
	  { SZ_2G - 1, NO_BOUNDARY }, 6, SZ_1G },
	{ "6 GiB by 2 GiB", RANGES({ G(64), G(6) }), { SZ_2G, NO_BOUNDARY },
	  3, SZ_2G },
	{ "12 GiB keep borders of 2 GiB", RANGES({ G(64), G(12) }),
	  { MAX_4G, NO_BOUNDARY }, 6, SZ_2G },
	{ "24 GiB keep borders of 1 GiB", RANGES({ G(64), G(24) }),
	  { MAX_4G, NO_BOUNDARY }, 8, SZ_1G },
	{ "from the middle of a 1 GiB page", RANGES({ G(64) + M(514), G(16) }),
	  { UINT_MAX, NO_BOUNDARY }, 7, SZ_2G },
	{ "1 TiB keeps borders of 32 MiB", RANGES({ G(1024), G(1024) }),
	  { MAX_4G, NO_BOUNDARY }, 259, SZ_32M },
	{ "32 TiB keeps borders of 4 MiB", RANGES({ G(1024), G(32768) }),
	  { MAX_4G, NO_BOUNDARY }, 8201, SZ_4M },
	{ "1 TiB across boundaries of 64 GiB", RANGES({ G(1023), G(1024) }),
	  { MAX_4G, G(64) - 1 }, 273, SZ_128M },
	{ "1 TiB across boundaries of 4 GiB", RANGES({ G(1024), G(1024) }),
	  { MAX_4G, U32_MAX }, 512, SZ_2G },
	{ "past 4 GiB in one list",
	  RANGES({ G(3), G(3) + 1 }, { G(20) + 3, G(5) }, { G(9), P(1) }),
	  { UINT_MAX, NO_BOUNDARY }, 4, SZ_2G },
#endif
};

static void sg_phyr_table_test(struct kunit *test)
{
	const struct sg_phyr_case *c = test->param_value;
	struct sg_append_table sgt = {};
	struct scatterlist *sg;
	unsigned int i = 0, j;
	const char *wrong;
	phys_addr_t end;

	skip_made_up(test);
	if (c->nents > SG_MAX_SINGLE_ALLOC)
		skip_unchained(test);
	KUNIT_ASSERT_EQ(test, map(&sgt, c->phyrs, c->nr, c->nr, &c->lim), 0);
	wrong = check_table(&sgt, c->phyrs, c->nr, &c->lim, true);
	KUNIT_EXPECT_STREQ(test, wrong ?: "", "");
	KUNIT_EXPECT_EQ(test, sgt.sgt.nents, c->nents);
	KUNIT_EXPECT_EQ(test, sgt.total_nents, c->nents);

	for_each_sgtable_sg(&sgt.sgt, sg, j) {
		end = sg_start(sg) + sg->length;
		if (i < c->nr && end == c->phyrs[i].addr + c->phyrs[i].len)
			i++;
		else
			KUNIT_EXPECT_TRUE(test, c->align && IS_ALIGNED(end, c->align));
	}
	sg_free_append_table(&sgt);
}

/* Lists that end about the end of a chunk, made by calls of nearly every size. */
static void sg_phyr_chain_test(struct kunit *test)
{
	static const struct sg_phyr_limits lim = { PAGE_SIZE, NO_BOUNDARY };
	unsigned int per_call, nr, i;
	struct phyr *phyrs;
	const char *wrong;

	skip_made_up(test);
	skip_unchained(test);
	phyrs = kunit_kmalloc_array(test, MAX_RANGES, sizeof(*phyrs), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, phyrs);
	/* One of them becomes three entries. */
	for (i = 0; i < MAX_RANGES; i++)
		phyrs[i] = (struct phyr){ P(4 * i), i == 100 ? P(3) : P(1) };

	for (nr = 1; nr <= MAX_RANGES; nr++) {
		/* Chunks have an entry less where one is the link to the next. */
		if ((nr + 5) % (SG_MAX_SINGLE_ALLOC - 1) > 10)
			continue;
		for (per_call = 1; per_call < SG_MAX_SINGLE_ALLOC + 8; per_call++) {
			struct sg_append_table sgt = {};

			/* Chunks are large where pages are. */
			if ((per_call + 8) % SG_MAX_SINGLE_ALLOC > 16 &&
			    per_call % (1 + SG_MAX_SINGLE_ALLOC / 256))
				continue;
			KUNIT_ASSERT_EQ(test, map(&sgt, phyrs, nr, per_call, &lim), 0);
			wrong = check_table(&sgt, phyrs, nr, &lim, true);
			KUNIT_EXPECT_STREQ_MSG(test, wrong ?: "", "",
					       "%u ranges by %u", nr, per_call);
			sg_free_append_table(&sgt);
			cond_resched();
		}
	}
}

/* In place of sg_append_chunk(): fails when what priv points at is down to 0. */
static struct scatterlist *fail_chunk(struct sg_append_table *table,
				      struct scatterlist *link,
				      unsigned int nents, gfp_t gfp)
{
	struct kunit *test = kunit_get_current_test();
	unsigned int *until = test->priv;
	struct scatterlist *sg;

	if (!(*until)--)
		return ERR_PTR(-ENOMEM);
	kunit_deactivate_static_stub(test, sg_append_chunk);
	sg = sg_append_chunk(table, link, nents, gfp);
	kunit_activate_static_stub(test, sg_append_chunk, fail_chunk);
	return sg;
}

/* Does total_nents say what is to be freed, in chunks as they are freed? */
static const char *check_chunks(struct sg_append_table *sgt)
{
	struct scatterlist *sg = sgt->sgt.sgl;
	unsigned int n = 0, i = 0;

	while (sg && n <= sgt->total_nents) {
		if (sg_is_chain(sg)) {
			if (i != SG_MAX_SINGLE_ALLOC - 1)
				return "a chunk that is not full";
			sg = sg_chain_ptr(sg);
			i = 0;
			continue;
		}
		n++;
		i++;
		/* As long as it is not finished, an end mark is that of a chunk. */
		sg = sg_is_last(sg) ? NULL : sg + 1;
	}
	return n == sgt->total_nents ? NULL : "total_nents is wrong";
}

/* The call for those behind the first @before fails at allocation @fail of it. */
static bool nomem(struct kunit *test, const struct phyr *phyrs, unsigned int nr,
		  unsigned int before, unsigned int fail, bool ends, bool goes_on)
{
	static const struct sg_phyr_limits lim = { PAGE_SIZE, NO_BOUNDARY };
	struct sg_append_table sgt = {}, was = {};
	unsigned int until = fail;
	const char *wrong;
	int ret;

	if (before)
		KUNIT_ASSERT_EQ(test, sg_map_phyrs(&sgt, phyrs, before, lim.max,
						   lim.boundary, 1, GFP_KERNEL), 0);
	was = sgt;

	test->priv = &until;
	kunit_activate_static_stub(test, sg_append_chunk, fail_chunk);
	ret = sg_map_phyrs(&sgt, phyrs + before, nr - before, lim.max,
			   lim.boundary, !ends, GFP_KERNEL);
	kunit_deactivate_static_stub(test, sg_append_chunk);
	if (!ret)
		goto free;

	KUNIT_EXPECT_EQ(test, ret, -ENOMEM);
	if (before) {
		wrong = check_table(&sgt, phyrs, before, &lim, false) ?:
			check_chunks(&sgt);
		KUNIT_EXPECT_STREQ_MSG(test, wrong ?: "", "",
				       "%u of %u, failure %u", before, nr, fail);
		KUNIT_EXPECT_PTR_EQ(test, sgt.prv, was.prv);
		KUNIT_EXPECT_EQ(test, sgt.total_nents,
				was.total_nents + fail * (SG_MAX_SINGLE_ALLOC - 1));
	} else {
		KUNIT_EXPECT_MEMEQ(test, &sgt, &was, sizeof(sgt));
	}
	if (!goes_on)
		goto free;

	/* By one range, so that it fits what is there, before all that are left. */
	KUNIT_ASSERT_EQ(test, sg_map_phyrs(&sgt, phyrs + before, 1, lim.max,
					   lim.boundary, 1, GFP_KERNEL), 0);
	wrong = check_table(&sgt, phyrs, before + 1, &lim, false) ?:
		check_chunks(&sgt);
	KUNIT_EXPECT_STREQ_MSG(test, wrong ?: "", "",
			       "one after %u of %u, failure %u", before, nr, fail);
	KUNIT_ASSERT_EQ(test, sg_map_phyrs(&sgt, phyrs + before + 1,
					   nr - before - 1, lim.max,
					   lim.boundary, 0, GFP_KERNEL), 0);
	wrong = check_table(&sgt, phyrs, nr, &lim, true);
	KUNIT_EXPECT_STREQ_MSG(test, wrong ?: "", "",
			       "all after %u of %u, failure %u", before, nr, fail);
free:
	sg_free_append_table(&sgt);
	KUNIT_EXPECT_NULL(test, sgt.sgt.sgl);
	return ret;
}

/* Allocations that fail, each that there is in a call, with what was there before. */
static void sg_phyr_nomem_test(struct kunit *test)
{
	static const unsigned int befores[] = {
		0, 1, SG_MAX_SINGLE_ALLOC / 2, SG_MAX_SINGLE_ALLOC - 2,
		SG_MAX_SINGLE_ALLOC - 1, SG_MAX_SINGLE_ALLOC,
	};
	unsigned int i, split, fail, failed = 0;
	struct phyr *phyrs;

	skip_made_up(test);
	skip_unchained(test);
	phyrs = kunit_kmalloc_array(test, MAX_RANGES, sizeof(*phyrs), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, phyrs);

	/* None, some, more and all of them become two entries. */
	for (split = 0; split < 4; split++) {
		for (i = 0; i < MAX_RANGES; i++)
			phyrs[i] = (struct phyr){ P(4 * i), i % 3 < split ? P(2) : P(1) };
		for (i = 0; i < 4 * ARRAY_SIZE(befores); i++)
			for (fail = 0; nomem(test, phyrs, MAX_RANGES, befores[i / 4],
					     fail, i & 1, i & 2); fail++)
				failed++;
	}
	/* Each call takes two chunks or more. */
	KUNIT_EXPECT_GE(test, failed, 2 * 4 * 4 * ARRAY_SIZE(befores));
}

static void sg_phyr_error_test(struct kunit *test)
{
	static const struct sg_phyr_limits lim = { SZ_64K, NO_BOUNDARY };
	static const struct phyr phyrs[] = {
		{ P(9) + 5, P(1) - 5 }, { P(20), SZ_128K }, { P(7), 11 },
	};
	static const struct phyr empty[] = { { P(1), P(1) }, { P(2), 0 } };
	const struct {
		const struct phyr *phyrs;
		unsigned long nr;
		unsigned int max;
		unsigned long boundary;
	} bad[] = {
		{ phyrs, 3, 0, NO_BOUNDARY },
		{ phyrs, 3, PAGE_SIZE - 1, NO_BOUNDARY },
		{ phyrs, 3, SZ_64K, 0 },
		{ phyrs, 3, SZ_64K, PAGE_SIZE / 2 - 1 },
		{ phyrs, 3, SZ_64K, PAGE_SIZE },
		{ phyrs, 3, SZ_64K, NO_BOUNDARY - 1 },
		{ phyrs, 0, SZ_64K, NO_BOUNDARY },
		{ empty, 2, SZ_64K, NO_BOUNDARY },
		{ empty, 2, SZ_64K, SZ_64K - 1 },
	};
	struct sg_append_table sgt = {}, was = {};
	struct scatterlist *entries;
	unsigned int i, left;

	skip_made_up(test);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		KUNIT_EXPECT_EQ(test, sg_map_phyrs(&sgt, bad[i].phyrs, bad[i].nr,
						   bad[i].max, bad[i].boundary,
						   0, GFP_KERNEL), -EINVAL);
		KUNIT_EXPECT_MEMEQ(test, &sgt, &was, sizeof(sgt));
	}

	if (IS_ENABLED(CONFIG_ARCH_NO_SG_CHAIN)) {
		KUNIT_EXPECT_EQ(test, sg_map_phyrs(&sgt, phyrs, 2, lim.max,
						   lim.boundary, 1, GFP_KERNEL),
				-EOPNOTSUPP);
		KUNIT_EXPECT_MEMEQ(test, &sgt, &was, sizeof(sgt));
		skip_unchained(test);
	}
	KUNIT_ASSERT_EQ(test, sg_map_phyrs(&sgt, phyrs, 2, lim.max, lim.boundary,
					   1, GFP_KERNEL), 0);
	entries = kunit_kmalloc_array(test, SG_MAX_SINGLE_ALLOC, sizeof(*entries),
				      GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, entries);
	memcpy(entries, sgt.sgt.sgl, SG_MAX_SINGLE_ALLOC * sizeof(*entries));
	was = sgt;
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		for (left = 0; left < 2; left++) {
			KUNIT_EXPECT_EQ(test, sg_map_phyrs(&sgt, bad[i].phyrs,
							   bad[i].nr, bad[i].max,
							   bad[i].boundary, left,
							   GFP_KERNEL), -EINVAL);
			KUNIT_EXPECT_MEMEQ(test, &sgt, &was, sizeof(sgt));
			KUNIT_EXPECT_MEMEQ(test, sgt.sgt.sgl, entries,
					   SG_MAX_SINGLE_ALLOC * sizeof(*entries));
		}

	/* None of that kept it from going on. */
	KUNIT_EXPECT_EQ(test, sg_map_phyrs(&sgt, phyrs + 2, 1, lim.max,
					   lim.boundary, 0, GFP_KERNEL), 0);
	KUNIT_EXPECT_STREQ(test, check_table(&sgt, phyrs, 3, &lim, true) ?: "", "");
	was = sgt;
	KUNIT_EXPECT_EQ(test, sg_map_phyrs(&sgt, phyrs, 1, lim.max, lim.boundary,
					   0, GFP_KERNEL), -EINVAL);
	KUNIT_EXPECT_MEMEQ(test, &sgt, &was, sizeof(sgt));
	sg_free_append_table(&sgt);
}

/* More entries than can be counted. */
static void sg_phyr_many_test(struct kunit *test)
{
	const struct phyr few[] = { { P(1), P(1) }, { P(5), P(200) } };
	const struct phyr many[] = {
		{ P(1), P(1) },
#ifdef CONFIG_64BIT
		{ 0, P((u64)INT_MAX) },
		{ 0, P((u64)UINT_MAX) },
		{ P(5), P((u64)UINT_MAX + 1) },
		{ P(5), 1UL << 62 },
#endif
	};
	struct sg_append_table sgt = {}, was = {};
	unsigned int i;

	skip_made_up(test);
	for (i = 1; i < ARRAY_SIZE(many); i++) {
		KUNIT_EXPECT_EQ(test, sg_map_phyrs(&sgt, many, i + 1, PAGE_SIZE,
						   NO_BOUNDARY, 0, GFP_KERNEL),
				-E2BIG);
		KUNIT_EXPECT_EQ(test, sg_map_phyrs(&sgt, many + i, 1, UINT_MAX,
						   PAGE_SIZE - 1, 0, GFP_KERNEL),
				-E2BIG);
		KUNIT_EXPECT_MEMEQ(test, &sgt, &was, sizeof(sgt));
	}

	skip_unchained(test);
	KUNIT_ASSERT_EQ(test, sg_map_phyrs(&sgt, few, 1, PAGE_SIZE, NO_BOUNDARY,
					   1, GFP_KERNEL), 0);
	/* As if many had been appended already, and were one once mapped. */
	sgt.sgt.orig_nents = INT_MAX - SG_MAX_SINGLE_ALLOC - 200;
	was = sgt;
	KUNIT_EXPECT_EQ(test, sg_map_phyrs(&sgt, few, 2, PAGE_SIZE, NO_BOUNDARY, 0,
					   GFP_KERNEL), -E2BIG);
	KUNIT_EXPECT_MEMEQ(test, &sgt, &was, sizeof(sgt));
	sgt.sgt.orig_nents--;
	was = sgt;
	KUNIT_EXPECT_EQ(test, sg_map_phyrs(&sgt, few, 2, PAGE_SIZE, NO_BOUNDARY, 0,
					   GFP_KERNEL), 0);
	KUNIT_EXPECT_EQ(test, sgt.sgt.orig_nents, was.sgt.orig_nents + 201);
	KUNIT_EXPECT_EQ(test, sgt.sgt.nents, sgt.sgt.orig_nents);
	sg_free_append_table(&sgt);
}

/* Many are above 4 GiB, but still where the ranges are. */
#define BOUNDARY_BITS	(IS_ENABLED(CONFIG_64BIT) ? 40 : 32)

static u32 below(struct rnd_state *rnd, u32 n)
{
	return prandom_u32_state(rnd) % n;
}

static void random_limits(struct rnd_state *rnd, struct sg_phyr_limits *lim)
{
	static const unsigned int maxima[] = {
		PAGE_SIZE, SZ_64K, SZ_2G - 1, SZ_2G, MAX_4G, UINT_MAX,
	};

	if (below(rnd, 2))
		lim->max = maxima[below(rnd, ARRAY_SIZE(maxima))];
	else
		lim->max = PAGE_SIZE + (prandom_u32_state(rnd) >> (1 + below(rnd, 19)));
	lim->boundary = NO_BOUNDARY;
	if (below(rnd, 2))
		lim->boundary = (PAGE_SIZE << below(rnd, BOUNDARY_BITS - PAGE_SHIFT)) - 1;
}

/* Ranges of any size, held against the rules. */
static void sg_phyr_random_test(struct kunit *test)
{
	unsigned int i, j, nr, n, done = cases / 4, failed = 0;
	u64 s = seed ?: get_random_u64();
	struct sg_phyr_limits lim;
	struct phyr phyrs[8];
	struct rnd_state rnd;

	skip_made_up(test);
	skip_unchained(test);
	if (!IS_ENABLED(CONFIG_64BIT))
		kunit_skip(test, "takes addresses of 64 bits");

	kunit_info(test, "seed=%llu cases=%u\n", s, done);
	prandom_seed_state(&rnd, s);
	for (i = 0; i < done; i++) {
		struct sg_append_table sgt = {};
		const char *wrong;
		int ret;

		random_limits(&rnd, &lim);
		n = min_t(u64, lim.max, (u64)lim.boundary + 1 ?: U64_MAX);
		nr = 1 + below(&rnd, ARRAY_SIZE(phyrs));
		for (j = 0; j < nr; j++) {
			u64 addr = prandom_u32_state(&rnd);
			u64 len = prandom_u32_state(&rnd);

			addr = ((addr << 32) | prandom_u32_state(&rnd)) >> 19;
			if (below(&rnd, 2))
				addr = ALIGN_DOWN(addr, SZ_4K << (9 * below(&rnd, 3)));
			len = (len << 32 | prandom_u32_state(&rnd)) >> below(&rnd, 64);
			if (below(&rnd, 2))
				len = ALIGN(len, SZ_4K << (9 * below(&rnd, 3)));
			/* Few enough to count them. */
			phyrs[j].addr = addr;
			phyrs[j].len = 1 + len % (n * (u64)(1 + below(&rnd, 500)));
		}
		ret = map(&sgt, phyrs, nr, 1 + below(&rnd, nr), &lim);
		wrong = ret ? "an error" : check_table(&sgt, phyrs, nr, &lim, true);
		if (wrong && !failed++)
			KUNIT_FAIL(test, "case %u, max %u, boundary %lx: %s (%d)", i,
				   lim.max, lim.boundary, wrong, ret);
		sg_free_append_table(&sgt);
		cond_resched();
	}
	KUNIT_EXPECT_EQ(test, failed, 0);
}

/* The pages that the lists to be compared are made of. */
#define BLOCKS		4
#define BLOCK_PAGES	256U
#define BLOCK_ORDER	ilog2(BLOCK_PAGES)
#define MAX_PAGES	(16 * BLOCK_PAGES)

struct sg_oracle {
	struct rnd_state rnd;
	struct page *blocks[BLOCKS];
	struct phyr phyrs[MAX_RANGES];
	unsigned int nr;
	struct page *pages[MAX_PAGES];
	unsigned int nr_pages;
	size_t len;
};

/* The ranges of a buffer: whole pages but for its two ends. */
static void sg_oracle_list(struct sg_oracle *o)
{
	/* The longer a list can be, the fewer are long. */
	bool shorter = below(&o->rnd, SG_MAX_SINGLE_ALLOC / 32);
	unsigned int want = 1 + below(&o->rnd, shorter ? 12 : MAX_RANGES);
	unsigned int longest_run = below(&o->rnd, 3) ? BLOCK_PAGES : 2;
	struct phyr *last;
	u32 cut;

	o->nr = 0;
	o->nr_pages = 0;
	o->len = 0;
	while (o->nr < want) {
		struct page *block = o->blocks[below(&o->rnd, BLOCKS)];
		u32 first = below(&o->rnd, BLOCK_PAGES);
		u32 n = 1 + below(&o->rnd, min(longest_run, BLOCK_PAGES - first));

		if (n > MAX_PAGES - o->nr_pages)
			break;
		o->phyrs[o->nr].addr = PFN_PHYS(page_to_pfn(block) + first);
		o->phyrs[o->nr++].len = P(n);
		o->len += P(n);
		while (n--)
			o->pages[o->nr_pages++] = block + first++;
	}
	if (below(&o->rnd, 2)) {
		cut = below(&o->rnd, PAGE_SIZE);
		o->phyrs[0].addr += cut;
		o->phyrs[0].len -= cut;
		o->len -= cut;
	}
	last = &o->phyrs[o->nr - 1];
	if (below(&o->rnd, 2)) {
		cut = below(&o->rnd, min(last->len, PAGE_SIZE));
		last->len -= cut;
		o->len -= cut;
	}
}

/* By pages; in several calls if the last page is a whole one, as it takes. */
static int sg_oracle_pages(struct sg_oracle *o, struct sg_append_table *sgt,
			   unsigned int max)
{
	unsigned int offset = offset_in_page(o->phyrs[0].addr);
	unsigned int done = 0, n;
	size_t len = o->len;
	int ret;

	while (done < o->nr_pages) {
		n = o->nr_pages - done;
		if (PAGE_ALIGNED(offset + len) && below(&o->rnd, 2))
			n = 1 + below(&o->rnd, n);
		ret = sg_alloc_append_table_from_pages(sgt, o->pages + done, n,
						       offset,
						       min(len, P(n) - offset), max,
						       o->nr_pages - done - n,
						       GFP_KERNEL);
		if (ret)
			return ret;
		len -= min(len, P(n) - offset);
		done += n;
		offset = 0;
	}
	return 0;
}

static int sg_oracle_ranges(struct sg_oracle *o, struct sg_append_table *sgt,
			    const struct sg_phyr_limits *lim)
{
	unsigned int done = 0, n;
	int ret = 0;

	while (!ret && done < o->nr) {
		n = o->nr - done;
		if (below(&o->rnd, 2))
			n = 1 + below(&o->rnd, n);
		ret = sg_map_phyrs(sgt, o->phyrs + done, n, lim->max, lim->boundary,
				   o->nr - done - n, GFP_KERNEL);
		done += n;
	}
	return ret;
}

/* The bytes of @sg up to a gap, however they are cut. */
static struct phyr next_run(struct scatterlist **sg)
{
	struct phyr run = { };

	if (*sg)
		run.addr = sg_start(*sg);
	while (*sg && sg_start(*sg) == run.addr + run.len) {
		run.len += (*sg)->length;
		*sg = sg_next(*sg);
	}
	return run;
}

static bool same_bytes(struct scatterlist *a, struct scatterlist *b, size_t len)
{
	struct phyr one, other;
	size_t sum = 0;

	do {
		one = next_run(&a);
		other = next_run(&b);
		if (one.addr != other.addr || one.len != other.len)
			return false;
		sum += one.len;
	} while (one.len);
	return sum == len;
}

static void sg_phyr_oracle_test(struct kunit *test)
{
	u64 s = seed ?: get_random_u64();
	unsigned int i, mismatches = 0;
	struct sg_oracle *o;

	skip_unchained(test);
	o = kunit_kzalloc(test, sizeof(*o), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, o);
	for (i = 0; i < BLOCKS; i++) {
		o->blocks[i] = alloc_pages(GFP_KERNEL, BLOCK_ORDER);
		if (!o->blocks[i])
			goto out;
	}

	prandom_seed_state(&o->rnd, s);
	for (i = 0; i < cases; i++) {
		struct sg_append_table pages = {}, ranges = {};
		struct sg_phyr_limits lim;
		const char *wrong = NULL;

		sg_oracle_list(o);
		random_limits(&o->rnd, &lim);
		if (sg_oracle_pages(o, &pages, lim.max) ||
		    sg_oracle_ranges(o, &ranges, &lim))
			wrong = "an error";
		else if (!same_bytes(ranges.sgt.sgl, pages.sgt.sgl, o->len))
			wrong = "other bytes";
		else
			wrong = check_table(&ranges, o->phyrs, o->nr, &lim, true);
		if (wrong && !mismatches++)
			KUNIT_FAIL(test, "case %u, %u ranges, max %u, boundary %lx: %s",
				   i, o->nr, lim.max, lim.boundary, wrong);
		sg_free_append_table(&ranges);
		sg_free_append_table(&pages);
		cond_resched();
	}
	kunit_info(test, "sg-oracle: cases=%u mismatches=%u seed=%llu\n", cases,
		   mismatches, s);
	KUNIT_EXPECT_EQ(test, mismatches, 0);
	i = BLOCKS;
out:
	KUNIT_EXPECT_EQ(test, i, BLOCKS);
	while (i--)
		__free_pages(o->blocks[i], BLOCK_ORDER);
}

KUNIT_ARRAY_PARAM_DESC(sg_phyr, sg_phyr_cases, name);

static struct kunit_case sg_phyr_test_cases[] = {
	KUNIT_CASE_PARAM(sg_phyr_table_test, sg_phyr_gen_params),
	KUNIT_CASE(sg_phyr_chain_test),
	KUNIT_CASE(sg_phyr_nomem_test),
	KUNIT_CASE(sg_phyr_error_test),
	KUNIT_CASE(sg_phyr_many_test),
	KUNIT_CASE_SLOW(sg_phyr_random_test),
	KUNIT_CASE_SLOW(sg_phyr_oracle_test),
	{}
};

static struct kunit_suite sg_phyr_test_suite = {
	.name = "sg_phyr",
	.test_cases = sg_phyr_test_cases,
};

kunit_test_suite(sg_phyr_test_suite);

MODULE_DESCRIPTION("KUnit tests of scatterlists made of physical ranges");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
