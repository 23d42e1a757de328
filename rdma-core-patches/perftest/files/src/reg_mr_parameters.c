/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * Options of ib_reg_mr_lat. It has no peer, no QP and no port, so of the many
 * options of the other tests it knows only those that can mean something here,
 * by the same letters and names.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include "reg_mr_parameters.h"
#include "vfio_memory.h"

#define DEF_SIZE 4096
#define DEF_ALL_SIZE (UINT64_C(1) << 30)
#define DEF_ITERS 1000
#define DEF_WARMUP 5
#define MAX_ITERS 100000000
#define MAX_DURATION 86400
#define MAX_THREADS 1024
#define DEF_JSON_FILE "perftest_out.json"
#define MR_PATH_ENV "RDMAV_MR_PATH"

enum {
	OPT_PAGE_SIZE = CHAR_MAX + 1,
	OPT_MMAP,
	OPT_MMAP_OFFSET,
	OPT_VFIO_DMABUF,
	OPT_VFIO_DMABUF_OFFSET,
	OPT_MR_PATH,
	OPT_ONE_PAGE,
	OPT_SCATTERED,
	OPT_OFFSET,
	OPT_THREADS,
	OPT_BREAKDOWN,
	OPT_WARMUP,
	OPT_ODP,
	OPT_JSON,
	OPT_JSON_FILE,
};

static const struct option options[] = {
	{ "all",		no_argument,		NULL, 'a' },
	{ "report-cycles",	no_argument,		NULL, 'C' },
	{ "ib-dev",		required_argument,	NULL, 'd' },
	{ "duration",		required_argument,	NULL, 'D' },
	{ "CPU-freq",		no_argument,		NULL, 'F' },
	{ "help",		no_argument,		NULL, 'h' },
	{ "report-histogram",	no_argument,		NULL, 'H' },
	{ "iters",		required_argument,	NULL, 'n' },
	{ "size",		required_argument,	NULL, 's' },
	{ "report-unsorted",	no_argument,		NULL, 'U' },
	{ "version",		no_argument,		NULL, 'V' },
	{ "page_size",		required_argument,	NULL, OPT_PAGE_SIZE },
	{ "mmap",		required_argument,	NULL, OPT_MMAP },
	{ "mmap-offset",	required_argument,	NULL, OPT_MMAP_OFFSET },
	{ "vfio_dmabuf",	required_argument,	NULL, OPT_VFIO_DMABUF },
	{ "vfio_dmabuf_offset",	required_argument,	NULL, OPT_VFIO_DMABUF_OFFSET },
	{ "mr_path",		required_argument,	NULL, OPT_MR_PATH },
	{ "one_page",		no_argument,		NULL, OPT_ONE_PAGE },
	{ "scattered",		no_argument,		NULL, OPT_SCATTERED },
	{ "offset",		required_argument,	NULL, OPT_OFFSET },
	{ "threads",		required_argument,	NULL, OPT_THREADS },
	{ "breakdown",		no_argument,		NULL, OPT_BREAKDOWN },
	{ "warmup",		required_argument,	NULL, OPT_WARMUP },
	{ "odp",		no_argument,		NULL, OPT_ODP },
	{ "out_json",		no_argument,		NULL, OPT_JSON },
	{ "out_json_file",	required_argument,	NULL, OPT_JSON_FILE },
	{ NULL,			0,			NULL, 0 },
};

static void usage(const char *argv0)
{
	printf("Usage:\n"
	       "  %s            register and deregister memory, no peer is needed\n"
	       "\n"
	       "Options:\n"
	       "  -a, --all  Run sizes from 4096 till the one of -s, or till 2^30\n"
	       "  -C, --report-cycles  Report times in cpu cycle units (default microseconds)\n"
	       "  -d, --ib-dev=<dev>  Use IB device <dev> (default first device found)\n"
	       "  -D, --duration=<seconds>  Register for so long, for each size, instead of -n times\n"
	       "  -F, --CPU-freq  Do not show a warning even if cpu-freq is not on max.\n"
	       "  -h, --help  Show this help screen.\n"
	       "  -H, --report-histogram  Print out all results, sorted (default print summary only)\n"
	       "  -n, --iters=<iters>  Number of registrations, by each thread and path (default %d)\n"
	       "  -s, --size=<size>  Size of the memory region in bytes; K, M, G or T can follow (default %d)\n"
	       "  -U, --report-unsorted  Print out all results in the order they were measured\n"
	       "  -V, --version  Display version number\n"
	       "      --page_size=<4K|thp|2M|1G>  What the memory is mapped by: 4K pages, transparent\n"
	       "          hugepages, or hugetlb pages of 2M or 1G (default 4K). The memory mapped is\n"
	       "          rounded up to whole pages, the memory region is not.\n"
	       "      --mmap=<file>  Map this file instead, such as the resourceN of a PCI device in sysfs\n"
	       "      --mmap-offset=<offset>  Begin so far into the file, at a multiple of the page size;\n"
	       "          K, M, G or T can follow (default 0)\n"
	       "      --vfio_dmabuf=" VFIO_MEMORY_USAGE "  Register a BAR (default 0) of the PCI device at this\n"
	       "          address, as in 0000:00:04.0:2, as a dma-buf of vfio-pci\n"
	       "      --vfio_dmabuf_offset=<offset>  Begin so far into the BAR, at a multiple of the page\n"
	       "          size; K, M, G or T can follow (default 0)\n"
	       "      --mr_path=<phyr|pages|both>  Register through physical ranges, or through an\n"
	       "          array of pages (IBV_ACCESS_PAGE_LIST), or by turns through the one and the\n"
	       "          other, and compare them (default " MR_PATH_ENV ", or else phyr)\n"
	       "      --one_page  Map one hugepage of --page_size over and over: for sizes beyond\n"
	       "          the hugepages there are\n"
	       "      --scattered  Touch 4K pages in random order, so that they are not in runs\n"
	       "      --offset=<bytes>  Begin so far into the memory mapped; K, M, G or T can follow (default 0)\n"
	       "      --threads=<threads>  Register by so many threads at once, each of them memory of\n"
	       "          its own of the size of -s (default 1)\n"
	       "      --breakdown  Tell what the kernel spends on pinning the memory, on mapping it for\n"
	       "          the device and in the driver, if rdma-core and the kernel can\n"
	       "      --odp  Register for On Demand Paging\n"
	       "      --warmup=<iters>  Registrations before the first one that counts (default %d)\n"
	       "      --out_json  Save the report in a json file\n"
	       "      --out_json_file=<file>  Name of the report json file, implies --out_json\n"
	       "          (default \"" DEF_JSON_FILE "\" in the working directory)\n",
	       argv0, DEF_ITERS, DEF_SIZE, DEF_WARMUP);
}

/* A decimal, octal or hexadecimal number. strtoull() would take a sign. */
static bool parse_number(const char *arg, const char **end, uint64_t *value)
{
	char *stop;

	if (*arg < '0' || *arg > '9')
		return false;
	errno = 0;
	*value = strtoull(arg, &stop, 0);
	*end = stop;
	return !errno;
}

static bool parse_size(const char *arg, uint64_t min, uint64_t *size)
{
	static const char suffixes[] = "KMGT";
	const char *end, *suffix;
	unsigned int shift = 0;

	if (!parse_number(arg, &end, size))
		return false;
	if (*end) {
		suffix = strchr(suffixes, *end);
		if (!suffix || end[1])
			return false;
		shift = 10 * (suffix - suffixes + 1);
	}
	if (*size < min || *size > SIZE_MAX >> shift)
		return false;
	*size <<= shift;
	return true;
}

static bool parse_count(const char *arg, uint64_t min, uint64_t max,
			uint64_t *count)
{
	const char *end;

	return parse_number(arg, &end, count) && !*end && *count >= min &&
	       *count <= max;
}

static bool parse_mr_path(const char *arg, struct reg_mr_parameters *param)
{
	bool both = !strcmp(arg, "both");

	param->n_paths = both ? 2 : 1;
	param->paths[0] = !strcmp(arg, "pages") ? REG_MR_PAGES : REG_MR_PHYR;
	param->paths[1] = REG_MR_PAGES;
	return both || !strcmp(arg, reg_mr_path_name(param->paths[0]));
}

static enum reg_mr_parse bad_value(const char *option, const char *value,
				   const char *remedy)
{
	fprintf(stderr, " %s: bad value '%s': %s\n", option, value, remedy);
	return REG_MR_BAD_OPTION;
}

static enum reg_mr_parse bad_usage(const char *option, const char *remedy)
{
	fprintf(stderr, " %s: %s\n", option, remedy);
	return REG_MR_BAD_OPTION;
}

/* What getopt_long() stumbled over: one letter of several, or a whole word */
static const char *culprit(char *argv[])
{
	static char letter[] = "-?";

	if (optopt <= 0 || optopt > CHAR_MAX)
		return argv[optind - 1];
	letter[1] = optopt;
	return letter;
}

/*
 * What the command line says wins over the environment, which libibverbs would
 * add to the access flags; what the environment says is reported as the path.
 */
static enum reg_mr_parse settle_mr_path(struct reg_mr_parameters *param,
					const char *given, bool odp)
{
	const char *env = getenv(MR_PATH_ENV);

	param->path_given = given;
	if (param->vfio_dmabuf) {
		if (given || odp)
			return bad_usage(given ? "--mr_path" : "--odp", "a dma-buf has no pages that could be pinned or faulted, leave it out with --vfio_dmabuf");
		param->paths[0] = REG_MR_DMABUF;
		return REG_MR_RUN;
	}
	if (odp) {
		if (given)
			return bad_usage("--mr_path", "an on-demand MR pins no memory and has no path, leave it out with --odp");
		if (param->breakdown)
			return bad_usage("--breakdown", "an on-demand MR pins no memory, leave it out with --odp");
		param->paths[0] = REG_MR_ODP;
		return REG_MR_RUN;
	}
	if (given)
		unsetenv(MR_PATH_ENV);
	else if (env && !strcmp(env, "pages"))
		param->paths[0] = REG_MR_PAGES;
#ifndef HAVE_QUERY_MR_LAYOUT
	if (given && param->paths[0] == REG_MR_PHYR)
		return bad_usage("--mr_path", "this program was built with an rdma-core that has no ibv_query_mr_layout() and can't tell the path, build it with one that has");
#endif
#ifndef HAVE_ACCESS_PAGE_LIST
	if (param->paths[param->n_paths - 1] == REG_MR_PAGES) {
		fprintf(stderr, " %s=%s: this program was built with an rdma-core that has no IBV_ACCESS_PAGE_LIST, build it with one that has\n",
			given ? "--mr_path" : MR_PATH_ENV, given ? given : env);
		return REG_MR_BAD_OPTION;
	}
#endif
	return REG_MR_RUN;
}

static enum reg_mr_parse check_memory(const struct reg_mr_parameters *param,
				      bool page_size_given)
{
	if (param->mmap_file && param->vfio_dmabuf)
		return bad_usage("--mmap", "not together with --vfio_dmabuf: leave one of them out");
	if (!reg_mr_has_page_size(param) && (page_size_given || param->scattered))
		return bad_usage(page_size_given ? "--page_size" : "--scattered", "the memory of --mmap and --vfio_dmabuf is as it is, leave it out");
	if (param->mmap_offset && !param->mmap_file)
		return bad_usage("--mmap-offset", "only with --mmap");
	if (param->vfio_dmabuf_offset && !param->vfio_dmabuf)
		return bad_usage("--vfio_dmabuf_offset", "only with --vfio_dmabuf");
	if (param->vfio_dmabuf && !vfio_memory_supported())
		return bad_usage("--vfio_dmabuf", "this program was built with an rdma-core that has no ibv_reg_dmabuf_mr(), build it with one that has");
	return REG_MR_RUN;
}

static enum reg_mr_parse check(const struct reg_mr_parameters *param)
{
	if (param->one_page && param->page_size != PAGE_MEMORY_2M &&
	    param->page_size != PAGE_MEMORY_1G)
		return bad_usage("--one_page", "there are no hugepages to repeat, add --page_size=2M or --page_size=1G");
	if (param->scattered && param->page_size != PAGE_MEMORY_4K)
		return bad_usage("--scattered", "only pages of 4K can be, leave it or --page_size out");
#ifndef HAVE_QUERY_MR_LAYOUT
	if (param->breakdown)
		return bad_usage("--breakdown", "this program was built with an rdma-core that has no ibv_query_mr_layout(), build it with one that has");
#endif
	return REG_MR_RUN;
}

enum reg_mr_parse reg_mr_parse(struct reg_mr_parameters *param, int argc,
			       char *argv[])
{
	bool size_given = false, iters_given = false, page_size_given = false, odp = false;
	const char *mr_path = NULL;
	enum reg_mr_parse ret;
	uint64_t threads = 1;
	int c;

	*param = (struct reg_mr_parameters) {
		.size = DEF_SIZE,
		.iters = DEF_ITERS,
		.n_paths = 1,
		.warmup = DEF_WARMUP,
		.page_size = PAGE_MEMORY_4K,
		.out_json_file_name = DEF_JSON_FILE,
	};

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":aCd:D:FhHn:s:UV", options, NULL)) != -1) {
		switch (c) {
		case 'a':
			param->all = true;
			break;
		case 'C':
			param->report_cycles = true;
			break;
		case 'd':
			param->ib_devname = optarg;
			break;
		case 'D':
			if (!parse_count(optarg, 1, MAX_DURATION, &param->duration))
				return bad_value("-D, --duration", optarg, "give a number of seconds from 1 to 86400");
			break;
		case 'F':
			param->cpu_freq_f = true;
			break;
		case 'h':
			usage(argv[0]);
			return REG_MR_EXIT;
		case 'H':
			param->report_histogram = true;
			break;
		case 'n':
			if (!parse_count(optarg, 1, MAX_ITERS, &param->iters))
				return bad_value("-n, --iters", optarg, "give a number from 1 to 100000000");
			iters_given = true;
			break;
		case 's':
			if (!parse_size(optarg, 1, &param->size))
				return bad_value("-s, --size", optarg, "give a number of bytes, at least 1; K, M, G or T can follow");
			size_given = true;
			break;
		case 'U':
			param->report_unsorted = true;
			break;
		case 'V':
			printf("Version: %s\n", VERSION);
			return REG_MR_EXIT;
		case OPT_PAGE_SIZE:
			if (!page_memory_parse(optarg, &param->page_size))
				return bad_value("--page_size", optarg, "use 4K, thp, 2M or 1G");
			page_size_given = true;
			break;
		case OPT_MMAP:
			param->mmap_file = optarg;
			break;
		case OPT_MMAP_OFFSET:
			if (!parse_size(optarg, 0, &param->mmap_offset))
				return bad_value("--mmap-offset", optarg, "give a number of bytes; K, M, G or T can follow");
			break;
		case OPT_VFIO_DMABUF:
			if (!vfio_memory_valid(optarg))
				return bad_value("--vfio_dmabuf", optarg, "give " VFIO_MEMORY_USAGE ", as in 0000:00:04.0:2, with a BAR from 0 to 5");
			param->vfio_dmabuf = optarg;
			break;
		case OPT_VFIO_DMABUF_OFFSET:
			if (!parse_size(optarg, 0, &param->vfio_dmabuf_offset))
				return bad_value("--vfio_dmabuf_offset", optarg, "give a number of bytes; K, M, G or T can follow");
			break;
		case OPT_MR_PATH:
			if (!parse_mr_path(optarg, param))
				return bad_value("--mr_path", optarg, "use phyr, pages or both");
			mr_path = optarg;
			break;
		case OPT_ONE_PAGE:
			param->one_page = true;
			break;
		case OPT_SCATTERED:
			param->scattered = true;
			break;
		case OPT_OFFSET:
			if (!parse_size(optarg, 0, &param->offset))
				return bad_value("--offset", optarg, "give a number of bytes; K, M, G or T can follow");
			break;
		case OPT_THREADS:
			if (!parse_count(optarg, 1, MAX_THREADS, &threads))
				return bad_value("--threads", optarg, "give a number from 1 to 1024");
			break;
		case OPT_BREAKDOWN:
			param->breakdown = true;
			break;
		case OPT_WARMUP:
			if (!parse_count(optarg, 0, MAX_ITERS, &param->warmup))
				return bad_value("--warmup", optarg, "give a number from 0 to 100000000");
			break;
		case OPT_ODP:
			odp = true;
			break;
		case OPT_JSON_FILE:
			param->out_json_file_name = optarg;
			/* fallthrough */
		case OPT_JSON:
			param->out_json = true;
			break;
		case ':':
			return bad_usage(culprit(argv), "a value has to follow, see --help");
		default:
			return bad_usage(culprit(argv), "not an option of this test, or not spelt in full, see --help");
		}
	}

	if (optind < argc)
		return bad_usage(argv[optind], "not expected here: the test has no peer, see --help");
	if (iters_given && param->duration)
		return bad_usage("-D, --duration", "not together with -n, --iters: leave one of them out");
	if (param->all && !size_given)
		param->size = DEF_ALL_SIZE;
	param->threads = threads;
	ret = check_memory(param, page_size_given);
	if (ret == REG_MR_RUN)
		ret = check(param);
	return ret == REG_MR_RUN ? settle_mr_path(param, mr_path, odp) : ret;
}

const char *reg_mr_path_name(enum reg_mr_path path)
{
	static const char *const names[] = {
		[REG_MR_PHYR]	= "phyr",
		[REG_MR_PAGES]	= "pages",
		[REG_MR_ODP]	= "odp",
		[REG_MR_DMABUF]	= "dmabuf",
		[REG_MR_UNKNOWN] = "unknown",
	};

	return names[path];
}

const char *reg_mr_paths_name(const struct reg_mr_parameters *param)
{
	return param->n_paths > 1 ? "both" : reg_mr_path_name(param->paths[0]);
}
