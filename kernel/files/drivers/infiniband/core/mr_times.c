// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * How long registering memory takes
 *
 * For ibv_query_mr_layout(), and only while somebody has asked for it by
 *
 *	echo 1 > /sys/module/ib_core/parameters/mr_times
 *
 * since reading the clock is a visible part of registering one page.  uverbs times
 * the driver, the umem what it does on the driver's behalf: pinning, and mapping,
 * with all that comes between the two.  A step that the parameter is changed in
 * leaves the MR without times.
 */

#include <linux/export.h>
#include <linux/ktime.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>

#include "uverbs.h"

struct ib_umem_times {
	u64 last;
	u64 ns[IB_UMEM_NR_STEPS];
	bool complete;
};

DEFINE_STATIC_KEY_FALSE(ib_mr_times_key);
EXPORT_SYMBOL_NS_GPL(ib_mr_times_key, "rdma_core");

static int mr_times_set(const char *val, const struct kernel_param *kp)
{
	bool on;
	int ret;

	ret = kstrtobool(val, &on);
	if (ret)
		return ret;

	/* Calls are serialised by the parameter's lock. */
	if (on)
		static_branch_enable(&ib_mr_times_key);
	else
		static_branch_disable(&ib_mr_times_key);
	return 0;
}

static int mr_times_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%c\n",
			  static_key_enabled(&ib_mr_times_key) ? 'Y' : 'N');
}

static const struct kernel_param_ops mr_times_ops = {
	.set = mr_times_set,
	.get = mr_times_get,
};

module_param_cb(mr_times, &mr_times_ops, NULL, 0644);
__MODULE_PARM_TYPE(mr_times, "bool");
MODULE_PARM_DESC(mr_times,
		 "Measure how long registering memory takes, for ibv_query_mr_layout(); default=0");

/* Without memory for them there are no times. */
void __ib_umem_start_times(struct ib_umem *umem)
{
	umem->times = kzalloc_obj(*umem->times);
	if (umem->times)
		umem->times->last = ktime_get_ns();
}

/* Account the time since the last call for @step. */
void __ib_umem_add_time(struct ib_umem *umem, enum ib_umem_step step)
{
	struct ib_umem_times *times = umem->times;
	u64 now;

	if (!times)
		return;
	now = ktime_get_ns();
	times->ns[step] += now - times->last;
	times->last = now;
}

void __ib_umem_end_times(struct ib_umem *umem)
{
	__ib_umem_add_time(umem, IB_UMEM_MAP);
	if (umem->times)
		umem->times->complete = true;
}

void __ib_umem_free_times(struct ib_umem *umem)
{
	kfree(umem->times);
}

/* On-demand memory is neither pinned nor mapped when it is registered. */
void ib_umem_query_times(const struct ib_umem *umem,
			 struct ib_uverbs_mr_layout *layout)
{
	const struct ib_umem_times *times = umem->times;

	if (!umem->is_odp && (!times || !times->complete))
		return;

	layout->flags |= IB_UVERBS_MR_LAYOUT_TIMES;
	if (times) {
		layout->pin_ns = times->ns[IB_UMEM_PIN];
		layout->map_ns = times->ns[IB_UMEM_MAP];
	}
}
