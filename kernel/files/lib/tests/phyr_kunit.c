// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of struct phyr and its helpers.
 */
#include <kunit/test.h>
#include <linux/mm.h>
#include <linux/phyr.h>

static void phyr_layout_test(struct kunit *test)
{
	size_t want;

	if (IS_ENABLED(CONFIG_64BIT))
		want = 16;
	else if (IS_ENABLED(CONFIG_X86_32))
		want = IS_ENABLED(CONFIG_PHYS_ADDR_T_64BIT) ? 12 : 8;
	else
		kunit_skip(test, "the size is not fixed for this architecture");

	KUNIT_EXPECT_EQ(test, sizeof(struct phyr), want);
	KUNIT_EXPECT_EQ(test, offsetof(struct phyr, addr), 0);
	KUNIT_EXPECT_EQ(test, offsetof(struct phyr, len), sizeof(phys_addr_t));
}

struct phyr_pfn_case {
	const char *name;
	struct phyr phyr;
	unsigned long pfn, pages;
};

static const struct phyr_pfn_case phyr_pfn_cases[] = {
	{ "one byte", { 0, 1 }, 0, 1 },
	{ "last byte of a page", { PAGE_SIZE - 1, 1 }, 0, 1 },
	{ "one page", { PAGE_SIZE, PAGE_SIZE }, 1, 1 },
	{ "two bytes over a border", { PAGE_SIZE - 1, 2 }, 0, 2 },
	{ "a page, one byte in", { PAGE_SIZE + 1, PAGE_SIZE }, 1, 2 },
	{ "a page less a byte, one byte in",
	  { PAGE_SIZE + 1, PAGE_SIZE - 1 }, 1, 1 },
	{ "1 GiB", { SZ_1G, SZ_1G }, SZ_1G >> PAGE_SHIFT, SZ_1G >> PAGE_SHIFT },
#ifdef CONFIG_64BIT
	{ "last page of the address space",
	  { -PAGE_SIZE, PAGE_SIZE }, -PAGE_SIZE >> PAGE_SHIFT, 1 },
#endif
};

static void phyr_pfn_test(struct kunit *test)
{
	const struct phyr_pfn_case *c = test->param_value;

	KUNIT_EXPECT_EQ(test, phyr_pfn(&c->phyr), c->pfn);
	KUNIT_EXPECT_EQ(test, phyr_end_pfn(&c->phyr) - phyr_pfn(&c->phyr),
			c->pages);
}

struct phyr_merge_case {
	const char *name;
	struct phyr phyr;
	phys_addr_t addr;
	size_t len;
	bool merge;
};

static const struct phyr_merge_case phyr_merge_cases[] = {
	{ "next page", { PAGE_SIZE, PAGE_SIZE }, 2 * PAGE_SIZE, PAGE_SIZE, true },
	{ "page before", { PAGE_SIZE, PAGE_SIZE }, 0, PAGE_SIZE, false },
	{ "same page", { PAGE_SIZE, PAGE_SIZE }, PAGE_SIZE, PAGE_SIZE, false },
	{ "one page apart", { 0, PAGE_SIZE }, 2 * PAGE_SIZE, PAGE_SIZE, false },
	{ "next byte", { 100, 28 }, 128, 1, true },
	{ "one byte short", { 100, 27 }, 128, 1, false },
	{ "one byte over", { 100, 29 }, 128, 1, false },
	{ "up to SIZE_MAX", { 0, SIZE_MAX - 7 }, SIZE_MAX - 7, 7, true },
	{ "beyond SIZE_MAX", { 0, SIZE_MAX - 7 }, SIZE_MAX - 7, 8, false },
	{ "around the end of the address space",
	  { -(phys_addr_t)PAGE_SIZE, PAGE_SIZE }, 0, PAGE_SIZE, false },
#ifdef CONFIG_PHYS_ADDR_T_64BIT
	{ "over 4 GiB", { SZ_4G - PAGE_SIZE, PAGE_SIZE }, SZ_4G, PAGE_SIZE, true },
	{ "same low 32 bits", { 0, PAGE_SIZE }, SZ_4G + PAGE_SIZE, PAGE_SIZE,
	  false },
#endif
};

static void phyr_merge_test(struct kunit *test)
{
	const struct phyr_merge_case *c = test->param_value;

	KUNIT_EXPECT_EQ(test, phyr_mergeable(&c->phyr, c->addr, c->len),
			c->merge);
}

KUNIT_ARRAY_PARAM_DESC(phyr_pfn, phyr_pfn_cases, name);
KUNIT_ARRAY_PARAM_DESC(phyr_merge, phyr_merge_cases, name);

static struct kunit_case phyr_test_cases[] = {
	KUNIT_CASE(phyr_layout_test),
	KUNIT_CASE_PARAM(phyr_pfn_test, phyr_pfn_gen_params),
	KUNIT_CASE_PARAM(phyr_merge_test, phyr_merge_gen_params),
	{}
};

static struct kunit_suite phyr_test_suite = {
	.name = "phyr",
	.test_cases = phyr_test_cases,
};

kunit_test_suite(phyr_test_suite);

MODULE_DESCRIPTION("KUnit tests of physical ranges");
MODULE_LICENSE("GPL");
