// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * What rxe has to tell of its MRs, by "rdma resource show mr -dd": how the memory
 * is held and found, in how many pieces, and what describing it takes.
 */

#include <rdma/restrack.h>

#include "rxe.h"
#include "rxe_loc.h"

static int rxe_fill_phyr_mr(struct sk_buff *msg, struct rxe_mr *mr)
{
	const struct ib_phyr_map *map = &mr->phyrs;
	u64 block = PAGE_SIZE;

	/* Of what can be found without looking for a border. */
	if (map->form == IB_PHYR_MAP_ONE)
		block = map->length;
	else if (map->form == IB_PHYR_MAP_BLOCKS)
		block = BIT_ULL(map->block_shift);

	return rdma_nl_put_driver_string(msg, "path", "ranges") ?:
	       rdma_nl_put_driver_u64(msg, "ranges", map->list->nr) ?:
	       rdma_nl_put_driver_u64(msg, "block_size", block) ?:
	       rdma_nl_put_driver_u64(msg, "description_bytes",
				      ib_umem_bytes(mr->umem) +
				      ib_phyr_map_bytes(map));
}

static int rxe_fill_page_mr(struct sk_buff *msg, struct rxe_mr *mr)
{
	u64 bytes = (u64)mr->max_allowed_buf * sizeof(*mr->page_info);

	if (mr->umem)
		bytes += ib_umem_bytes(mr->umem);

	return rdma_nl_put_driver_string(msg, "path", "pages") ?:
	       rdma_nl_put_driver_u64(msg, "block_size", mr_page_size(mr)) ?:
	       rdma_nl_put_driver_u64(msg, "description_bytes", bytes);
}

int rxe_fill_res_mr_entry(struct sk_buff *msg, struct ib_mr *ibmr)
{
	struct rxe_mr *mr = to_rmr(ibmr);
	struct nlattr *table;
	int err;

	/* It is all of the kernel's memory, and described by nothing. */
	if (ibmr->type == IB_MR_TYPE_DMA)
		return 0;

	table = nla_nest_start(msg, RDMA_NLDEV_ATTR_DRIVER);
	if (!table)
		return -EMSGSIZE;

	if (rxe_mr_has_phyrs(mr))
		err = rxe_fill_phyr_mr(msg, mr);
	else if (mr->umem && mr->umem->is_odp)
		err = rdma_nl_put_driver_string(msg, "path", "on-demand");
	else
		err = rxe_fill_page_mr(msg, mr);
	if (err) {
		nla_nest_cancel(msg, table);
		return -EMSGSIZE;
	}

	nla_nest_end(msg, table);
	return 0;
}
