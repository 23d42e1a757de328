// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What rxe has to tell of its MRs, by ibv_query_mr_layout() and "rdma resource show
 * mr -dd": how the memory is held and found, in how many pieces, and what describing
 * it takes.
 */

#include <rdma/restrack.h>

#include "rxe.h"
#include "rxe_loc.h"

int rxe_query_mr_layout(struct ib_mr *ibmr, struct ib_uverbs_mr_layout *layout)
{
	struct rxe_mr *mr = to_rmr(ibmr);
	const struct ib_phyr_map *map;

	if (mr->umem)
		ib_umem_query_layout(mr->umem, layout);
	if (layout->path == IB_UVERBS_MR_PATH_ODP)
		return 0;

	if (rxe_mr_has_phyrs(mr) || mr->gate) {
		map = mr->gate ? rxe_gate_map(mr) : &mr->phyrs;
		layout->block_size = ib_phyr_map_block_size(map);
		layout->desc_bytes += ib_phyr_map_bytes(map);
	} else {
		layout->path = IB_UVERBS_MR_PATH_PAGES;
		layout->num_ranges = mr->nbuf;
		layout->block_size = mr_page_size(mr);
		layout->desc_bytes += (u64)mr->max_allowed_buf *
				      sizeof(*mr->page_info);
	}
	return 0;
}

static int rxe_fill_layout(struct sk_buff *msg,
			   const struct ib_uverbs_mr_layout *layout)
{
	static const char * const paths[] = {
		[IB_UVERBS_MR_PATH_PAGES] = "pages",
		[IB_UVERBS_MR_PATH_PHYR] = "ranges",
		[IB_UVERBS_MR_PATH_ODP] = "on-demand",
	};

	if (rdma_nl_put_driver_string(msg, "path", paths[layout->path]))
		return -EMSGSIZE;
	if (layout->path == IB_UVERBS_MR_PATH_PHYR &&
	    rdma_nl_put_driver_u64(msg, "ranges", layout->num_ranges))
		return -EMSGSIZE;
	if (rdma_nl_put_driver_u64(msg, "block_size", layout->block_size) ||
	    rdma_nl_put_driver_u64(msg, "description_bytes",
				   layout->desc_bytes))
		return -EMSGSIZE;
	return 0;
}

int rxe_fill_res_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr)
{
	struct ib_uverbs_mr_layout layout = {};
	struct nlattr *table;

	/* It is all of the kernel's memory, and described by nothing. */
	if (ibmr->type == IB_MR_TYPE_DMA)
		return 0;

	table = nla_nest_start(msg, RDMA_NLDEV_ATTR_DRIVER);
	if (!table)
		return -EMSGSIZE;

	rxe_query_mr_layout(ibmr, &layout);
	if (rxe_fill_layout(msg, &layout)) {
		nla_nest_cancel(msg, table);
		return -EMSGSIZE;
	}

	nla_nest_end(msg, table);
	return 0;
}
