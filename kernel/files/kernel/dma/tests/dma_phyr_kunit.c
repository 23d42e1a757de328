// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of dma_map_phyrs() for a device that is behind no IOMMU: where the DMA
 * addresses are the physical ones, where some or all are others, and where the
 * device can't reach all of the buffer.
 *
 * What is mapped and unmapped is seen by the trace events of that.  The one range that
 * an IOMMU makes of a buffer takes an IOMMU: samples/phyr/ is for that.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/cc_platform.h>
#include <linux/dma-direct.h>
#include <linux/dma-phyr.h>
#include <linux/gfp.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/swiotlb.h>
#include <linux/tracepoint.h>
#include <trace/events/dma.h>

/* More than fit into the mapping itself and its first chunk. */
#define PAGES	(DMA_PHYRS_FIRST + DMA_PHYRS_CHUNK + 3)

/* More than the first table of chunks has room for. */
#define MANY	(DMA_PHYRS_FIRST + 8 * DMA_PHYRS_CHUNK + 5)

struct dma_phyr_ctx {
	struct device *dev;
	struct phyr *phyrs;	/* a page each, by address, none next to another */
	size_t bytes;
	unsigned long nr;

	struct tracepoint *map_event;
	struct tracepoint *unmap_event;
	struct dma_phyr *mapped;	/* since the last look; no length: unmapped */
	unsigned long nr_mapped;
	unsigned long next_unmapped;	/* a guess */
	unsigned long stray_unmaps;
};

#ifdef CONFIG_TRACEPOINTS
static void on_map(void *data, struct device *dev, phys_addr_t phys,
		   dma_addr_t addr, size_t len, enum dma_data_direction dir,
		   unsigned long attrs)
{
	struct dma_phyr_ctx *ctx = data;

	if (dev == ctx->dev && addr != DMA_MAPPING_ERROR && ctx->nr_mapped < MANY)
		ctx->mapped[ctx->nr_mapped++] = (struct dma_phyr){ addr, len };
}

static void on_unmap(void *data, struct device *dev, dma_addr_t addr, size_t len,
		     enum dma_data_direction dir, unsigned long attrs)
{
	struct dma_phyr_ctx *ctx = data;
	unsigned long i, n;

	if (dev != ctx->dev)
		return;
	for (n = 0; n < ctx->nr_mapped; n++) {
		i = (ctx->next_unmapped + n) % ctx->nr_mapped;
		if (ctx->mapped[i].addr == addr && ctx->mapped[i].len == len) {
			ctx->mapped[i].len = 0;
			ctx->next_unmapped = i + 1;
			return;
		}
	}
	ctx->stray_unmaps++;
}

static void find_event(struct tracepoint *tp, void *data)
{
	struct dma_phyr_ctx *ctx = data;

	if (!strcmp(tp->name, "dma_map_phys"))
		ctx->map_event = tp;
	else if (!strcmp(tp->name, "dma_unmap_phys"))
		ctx->unmap_event = tp;
}

/* By name, as a module can't have them otherwise. */
static void watch(struct kunit *test)
{
	struct dma_phyr_ctx *ctx = test->priv;

	check_trace_callback_type_dma_map_phys(on_map);
	check_trace_callback_type_dma_unmap_phys(on_unmap);
	for_each_kernel_tracepoint(find_event, ctx);
	KUNIT_ASSERT_NOT_NULL(test, ctx->map_event);
	KUNIT_ASSERT_NOT_NULL(test, ctx->unmap_event);
	KUNIT_ASSERT_EQ(test, tracepoint_probe_register(ctx->map_event, on_map, ctx), 0);
	KUNIT_ASSERT_EQ(test, tracepoint_probe_register(ctx->unmap_event, on_unmap, ctx), 0);
}

static void unwatch(struct dma_phyr_ctx *ctx)
{
	if (!ctx->map_event || !ctx->unmap_event)
		return;
	tracepoint_probe_unregister(ctx->map_event, on_map, ctx);
	tracepoint_probe_unregister(ctx->unmap_event, on_unmap, ctx);
	tracepoint_synchronize_unregister();
}
#else
static void watch(struct kunit *test)
{
	kunit_info(test, "no trace events: what is unmapped is not seen\n");
}

static void unwatch(struct dma_phyr_ctx *ctx)
{
}
#endif

static int by_address(const void *a, const void *b)
{
	const struct phyr *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static int dma_phyr_test_init(struct kunit *test)
{
	struct dma_phyr_ctx *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	dma_addr_t addr;

	KUNIT_ASSERT_NOT_NULL(test, ctx);
	test->priv = ctx;
	ctx->phyrs = kunit_kcalloc(test, PAGES, sizeof(*ctx->phyrs), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ctx->phyrs);
	ctx->mapped = kunit_kcalloc(test, MANY, sizeof(*ctx->mapped), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ctx->mapped);

	ctx->dev = kunit_device_register(test, "dma");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, ctx->dev);
	if (get_dma_ops(ctx->dev) || dma_get_merge_boundary(ctx->dev))
		kunit_skip(test, "no direct mapping here");
	if (!dev_is_dma_coherent(ctx->dev))
		kunit_skip(test, "no coherent DMA here");
	if (cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT))
		kunit_skip(test, "all DMA is bounced here");
	KUNIT_ASSERT_EQ(test, dma_set_mask(ctx->dev, DMA_BIT_MASK(64)), 0);
#ifdef CONFIG_SWIOTLB
	/* Whatever is forced on other devices. */
	ctx->dev->dma_io_tlb_mem = NULL;
#endif

	for (ctx->nr = 0; ctx->nr < PAGES; ctx->nr++) {
		struct page *page = alloc_page(GFP_KERNEL);

		KUNIT_ASSERT_NOT_NULL(test, page);
		ctx->phyrs[ctx->nr].addr = page_to_phys(page);
		ctx->phyrs[ctx->nr].len = PAGE_SIZE;
	}
	sort(ctx->phyrs, PAGES, sizeof(*ctx->phyrs), by_address, NULL);

	/* As a buffer with odd ends has it. */
	ctx->phyrs[0].addr += 5;
	ctx->phyrs[0].len -= 5;
	ctx->phyrs[PAGES - 1].len = 3;
	ctx->bytes = (PAGES - 2) * PAGE_SIZE + PAGE_SIZE - 5 + 3;

	addr = dma_map_phys(ctx->dev, ctx->phyrs[0].addr, 1, DMA_TO_DEVICE,
			    DMA_ATTR_REQUIRE_COHERENT);
	KUNIT_ASSERT_FALSE(test, dma_mapping_error(ctx->dev, addr));
	dma_unmap_phys(ctx->dev, addr, 1, DMA_TO_DEVICE, DMA_ATTR_REQUIRE_COHERENT);
	if (addr != ctx->phyrs[0].addr)
		kunit_skip(test, "DMA addresses are not the physical ones here");
	watch(test);
	return 0;
}

static void dma_phyr_test_exit(struct kunit *test)
{
	struct dma_phyr_ctx *ctx = test->priv;

	if (!ctx)
		return;
	unwatch(ctx);
	while (ctx->nr)
		__free_page(pfn_to_page(phyr_pfn(&ctx->phyrs[--ctx->nr])));
}

static int map_in_calls(struct dma_phyr_ctx *ctx, struct dma_phyr_map *map,
			unsigned long step)
{
	unsigned long i;
	int ret = 0;

	for (i = 0; !ret && i < PAGES; i += step)
		ret = dma_map_phyrs(map, ctx->phyrs + i, min(step, PAGES - i));
	return ret;
}

/* In the entries @from to @to - 1, DMA addresses are higher by @offset. */
static void expect_mapped(struct kunit *test, const struct dma_phyr_map *map,
			  unsigned long from, unsigned long to, u64 offset)
{
	struct dma_phyr_ctx *ctx = test->priv;
	unsigned long i;

	KUNIT_ASSERT_EQ(test, dma_phyrs_nr(map), PAGES);
	for (i = 0; i < PAGES; i++) {
		struct dma_phyr got = dma_phyr_at(map, i, &ctx->phyrs[i]);

		KUNIT_ASSERT_EQ(test, got.addr, ctx->phyrs[i].addr +
				(i >= from && i < to ? offset : 0));
		KUNIT_ASSERT_EQ(test, got.len, ctx->phyrs[i].len);
	}
}

static void expect_identity(struct kunit *test, const struct dma_phyr_map *map)
{
	expect_mapped(test, map, 0, 0, 0);
}

/*
 * Nothing is left of a mapping that had @nr ranges. For the first @same of them, which
 * had the CPU's addresses, there may have been nothing to do.
 */
static void expect_undone(struct kunit *test, const struct dma_phyr_map *map,
			  unsigned long nr, unsigned long same)
{
	struct dma_phyr_ctx *ctx = test->priv;
	unsigned long i, wrong = 0;

	KUNIT_EXPECT_EQ(test, dma_phyrs_nr(map), 0);
	KUNIT_EXPECT_EQ(test, map->mapped, 0);
	KUNIT_EXPECT_EQ(test, map->nr, 0);
	KUNIT_EXPECT_NULL(test, map->chunks);
	KUNIT_EXPECT_EQ(test, map->nr_chunks, 0);

	if (!ctx->unmap_event)
		return;
	if (dma_need_unmap(ctx->dev))
		same = 0;
	KUNIT_EXPECT_EQ(test, ctx->nr_mapped, nr);
	for (i = 0; i < ctx->nr_mapped; i++)
		wrong += (i < same) == !ctx->mapped[i].len;
	KUNIT_EXPECT_EQ_MSG(test, wrong, 0, "unmapped or not, by mistake");
	KUNIT_EXPECT_EQ(test, ctx->stray_unmaps, 0);
	ctx->nr_mapped = 0;
	ctx->next_unmapped = 0;
	ctx->stray_unmaps = 0;
}

static void expect_nothing(struct kunit *test, const struct dma_phyr_map *map)
{
	expect_undone(test, map, 0, 0);
}

static void dma_phyr_identity_test(struct kunit *test)
{
	struct dma_phyr_ctx *ctx = test->priv;
	static const unsigned long steps[] = { PAGES, 1, 7 };
	struct dma_phyr_map map;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		dma_phyr_map_init(&map, ctx->dev, ctx->bytes, DMA_BIDIRECTIONAL, 0);
		KUNIT_ASSERT_EQ(test, map_in_calls(ctx, &map, steps[i]), 0);
		expect_identity(test, &map);
		/* The debugging of DMA has to be told of each range. */
		KUNIT_EXPECT_EQ(test, dma_phyrs_identity(&map),
				!dma_need_unmap(ctx->dev));
		KUNIT_EXPECT_EQ(test, !map.chunks, !dma_need_unmap(ctx->dev));
		dma_unmap_phyrs(&map);
		expect_undone(test, &map, PAGES, PAGES);
	}
}

static void dma_phyr_no_ranges_test(struct kunit *test)
{
	struct dma_phyr_ctx *ctx = test->priv;
	struct dma_phyr_map map;

	dma_phyr_map_init(&map, ctx->dev, 0, DMA_TO_DEVICE, 0);
	KUNIT_EXPECT_EQ(test, dma_map_phyrs(&map, NULL, 0), 0);
	expect_nothing(test, &map);
	dma_unmap_phyrs(&map);
	KUNIT_EXPECT_EQ(test, dma_map_phyrs(&map, ctx->phyrs, 1), -EINVAL);
	expect_nothing(test, &map);

	/* In between, it changes nothing. */
	dma_phyr_map_init(&map, ctx->dev, ctx->bytes, DMA_TO_DEVICE, 0);
	KUNIT_EXPECT_EQ(test, dma_map_phyrs(&map, NULL, 0), 0);
	KUNIT_EXPECT_EQ(test, dma_map_phyrs(&map, ctx->phyrs, 2), 0);
	KUNIT_EXPECT_EQ(test, dma_map_phyrs(&map, NULL, 0), 0);
	KUNIT_EXPECT_EQ(test, dma_map_phyrs(&map, ctx->phyrs + 2, PAGES - 2), 0);
	expect_identity(test, &map);
	dma_unmap_phyrs(&map);
	dma_unmap_phyrs(&map);
	expect_undone(test, &map, PAGES, PAGES);
}

/* A part is not for the device to use, and may be undone. */
static void dma_phyr_part_test(struct kunit *test)
{
	struct dma_phyr_ctx *ctx = test->priv;
	struct dma_phyr_map map;

	dma_phyr_map_init(&map, ctx->dev, ctx->bytes, DMA_TO_DEVICE, 0);
	KUNIT_EXPECT_EQ(test, dma_map_phyrs(&map, ctx->phyrs, PAGES - 1), 0);
	KUNIT_EXPECT_EQ(test, dma_phyrs_nr(&map), 0);
	dma_unmap_phyrs(&map);
	expect_undone(test, &map, PAGES - 1, PAGES - 1);
}

static void dma_phyr_length_test(struct kunit *test)
{
	struct dma_phyr_ctx *ctx = test->priv;
	const struct phyr empty = { ctx->phyrs[1].addr, 0 };
	struct dma_phyr_map map;

	/* One byte too much, in the last range and call. */
	dma_phyr_map_init(&map, ctx->dev, ctx->bytes - 1, DMA_TO_DEVICE, 0);
	KUNIT_EXPECT_EQ(test, map_in_calls(ctx, &map, 8), -EINVAL);
	expect_undone(test, &map, PAGES - 1, PAGES - 1);

	dma_phyr_map_init(&map, ctx->dev, ctx->bytes, DMA_TO_DEVICE, 0);
	KUNIT_EXPECT_EQ(test, dma_map_phyrs(&map, ctx->phyrs, 1), 0);
	KUNIT_EXPECT_EQ(test, dma_map_phyrs(&map, &empty, 1), -EINVAL);
	expect_undone(test, &map, 1, 1);
}

/* The device reaches all pages below number @n. */
static void set_reach(struct dma_phyr_ctx *ctx, unsigned long n)
{
	*ctx->dev->dma_mask = ctx->phyrs[n].addr - 1;
}

static void dma_phyr_mask_test(struct kunit *test)
{
	struct dma_phyr_ctx *ctx = test->priv;
	static const unsigned long unreachable[] = {
		0, 1, DMA_PHYRS_FIRST, DMA_PHYRS_FIRST + 1, PAGES - 1
	};
	struct dma_phyr_map map;
	unsigned long step;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(unreachable); i++) {
		for (step = 1; step <= PAGES; step += PAGES - 1) {
			set_reach(ctx, unreachable[i]);
			dma_phyr_map_init(&map, ctx->dev, ctx->bytes,
					  DMA_FROM_DEVICE, 0);
			KUNIT_EXPECT_EQ(test, map_in_calls(ctx, &map, step), -EIO);
			expect_undone(test, &map, unreachable[i], unreachable[i]);
		}
	}
}

#ifdef CONFIG_SWIOTLB
/* What is to be bounced is refused, and so is what would have to be. */
static void dma_phyr_bounce_test(struct kunit *test)
{
	struct dma_phyr_ctx *ctx = test->priv;
	struct io_tlb_mem *mem = kunit_kzalloc(test, sizeof(*mem), GFP_KERNEL);
	struct dma_phyr_map map;

	KUNIT_ASSERT_NOT_NULL(test, mem);
	dma_phyr_map_init(&map, ctx->dev, ctx->bytes, DMA_TO_DEVICE, 0);
	KUNIT_EXPECT_EQ(test, dma_map_phyrs(&map, ctx->phyrs, 2), 0);

	mem->force_bounce = true;
	ctx->dev->dma_io_tlb_mem = mem;
	KUNIT_EXPECT_EQ(test, dma_map_phyrs(&map, ctx->phyrs + 2, 1), -EIO);
	expect_undone(test, &map, 2, 2);
	KUNIT_EXPECT_EQ(test, map_in_calls(ctx, &map, PAGES), -EIO);
	expect_nothing(test, &map);
	ctx->dev->dma_io_tlb_mem = NULL;
}
#else
static void dma_phyr_bounce_test(struct kunit *test)
{
	kunit_skip(test, "no swiotlb");
}
#endif

/*
 * From page number @from up to and without number @to, DMA addresses are higher than
 * the physical ones. Returns by how much: no page has a physical address like that.
 */
static u64 set_offset(struct kunit *test, unsigned long from, unsigned long to)
{
	struct dma_phyr_ctx *ctx = test->priv;
	const u64 offset = ALIGN(ctx->phyrs[PAGES - 1].addr + PAGE_SIZE, SZ_1G);
	u64 low = ctx->phyrs[from].addr & PAGE_MASK;
	u64 high = ctx->phyrs[to].addr & PAGE_MASK;
	struct bus_dma_region *regions;

	if (IS_ENABLED(CONFIG_ARCH_HAS_PHYS_TO_DMA))
		kunit_skip(test, "the architecture has its own DMA addresses");
	if (offset != (dma_addr_t)offset || 2 * offset != (dma_addr_t)(2 * offset))
		kunit_skip(test, "no room for other DMA addresses");

	if (!ctx->dev->dma_range_map) {
		/* Is freed with the device. */
		regions = kzalloc_objs(*regions, 4);
		KUNIT_ASSERT_NOT_NULL(test, regions);
		ctx->dev->dma_range_map = regions;
	}

	/* One without a size would be the last. */
	regions = (struct bus_dma_region *)ctx->dev->dma_range_map;
	regions[0].cpu_start = high;
	regions[0].dma_start = high;
	regions[0].size = offset - high;
	regions[1].cpu_start = low;
	regions[1].dma_start = low + offset;
	regions[1].size = high - low;
	regions[2].size = low;
	return offset;
}

/* DMA addresses that differ from the physical ones, for all pages or some. */
static void dma_phyr_offset_test(struct kunit *test)
{
	struct dma_phyr_ctx *ctx = test->priv;
	static const struct {
		unsigned long from, to;
	} cases[] = {
		{ 0, PAGES - 1 }, { 0, 1 }, { 1, 2 }, { 5, PAGES - 3 },
		{ PAGES - 2, PAGES - 1 },
	};
	struct dma_phyr_map map;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned long from = cases[i].from, to = cases[i].to;
		u64 offset = set_offset(test, from, to);

		dma_phyr_map_init(&map, ctx->dev, ctx->bytes, DMA_TO_DEVICE, 0);
		KUNIT_ASSERT_EQ(test, map_in_calls(ctx, &map, 3), 0);
		expect_mapped(test, &map, from, to, offset);
		KUNIT_EXPECT_FALSE(test, dma_phyrs_identity(&map));
		/* From the first that differs on, they are listed. */
		KUNIT_EXPECT_EQ(test, map.nr_same,
				dma_need_unmap(ctx->dev) ? 0 : from);
		dma_unmap_phyrs(&map);
		expect_undone(test, &map, PAGES, from);

		/* The last that differs is out of reach: those before it are listed. */
		*ctx->dev->dma_mask = ctx->phyrs[to - 1].addr + offset - 1;
		KUNIT_EXPECT_EQ(test, map_in_calls(ctx, &map, 3), -EIO);
		expect_undone(test, &map, to - 1, from);
		*ctx->dev->dma_mask = DMA_BIT_MASK(64);
	}
}

/* A list so long that the table of its chunks has to grow: one byte in each range. */
static void dma_phyr_many_test(struct kunit *test)
{
	struct dma_phyr_ctx *ctx = test->priv;
	u64 offset = set_offset(test, 0, PAGES - 1);
	struct dma_phyr_map map;
	unsigned long i, wrong = 0;
	struct phyr *phyrs;

	phyrs = kunit_kcalloc(test, MANY, sizeof(*phyrs), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, phyrs);
	for (i = 0; i < MANY; i++) {
		phyrs[i].addr = ctx->phyrs[1].addr + i % PAGE_SIZE;
		phyrs[i].len = 1;
	}

	dma_phyr_map_init(&map, ctx->dev, MANY, DMA_TO_DEVICE, 0);
	for (i = 0; i < MANY; i += 3)
		KUNIT_ASSERT_EQ(test, dma_map_phyrs(&map, phyrs + i, min(3, MANY - i)), 0);
	KUNIT_ASSERT_EQ(test, dma_phyrs_nr(&map), MANY);
	KUNIT_EXPECT_GT(test, map.nr_chunks, 8);
	for (i = 0; i < MANY; i++) {
		struct dma_phyr got = dma_phyr_at(&map, i, &phyrs[i]);

		wrong += got.addr != phyrs[i].addr + offset || got.len != 1;
	}
	KUNIT_EXPECT_EQ(test, wrong, 0);

	/* One more than there is room for. */
	KUNIT_EXPECT_EQ(test, dma_map_phyrs(&map, phyrs, 1), -EINVAL);
	expect_undone(test, &map, MANY, 0);
}

static struct kunit_case dma_phyr_test_cases[] = {
	KUNIT_CASE(dma_phyr_identity_test),
	KUNIT_CASE(dma_phyr_no_ranges_test),
	KUNIT_CASE(dma_phyr_part_test),
	KUNIT_CASE(dma_phyr_length_test),
	KUNIT_CASE(dma_phyr_mask_test),
	KUNIT_CASE(dma_phyr_bounce_test),
	KUNIT_CASE(dma_phyr_offset_test),
	KUNIT_CASE(dma_phyr_many_test),
	{}
};

static struct kunit_suite dma_phyr_test_suite = {
	.name = "dma_phyr",
	.init = dma_phyr_test_init,
	.exit = dma_phyr_test_exit,
	.test_cases = dma_phyr_test_cases,
};

kunit_test_suite(dma_phyr_test_suite);

MODULE_DESCRIPTION("KUnit tests of DMA mappings of physical ranges");
MODULE_LICENSE("GPL");
