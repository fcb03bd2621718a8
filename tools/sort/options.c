/*
 * options.c: the command line of weft-sort. Everything that can be seen to be wrong before a file
 * is opened is a usage error and ends here with one line.
 */
#include "sort.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_DEMO 256000000
#define THREADS_MAX 1024 /* of struct weft_options */

static const char help_text[] =
	"Usage: weft-sort INPUT -o OUTPUT [options]\n"
	"       weft-sort --demo SIZE [options]\n"
	"\n"
	"Sort a file of fixed-size records by a key of bytes, or of lines, on all CPUs, in\n"
	"limited memory: what does not fit is spilled to files without a name. Equal keys\n"
	"keep their order. Order and checksum of the output are verified by reading it\n"
	"back; only then it appears under its name.\n"
	"\n"
	"  -o, --output FILE     the sorted file (may be INPUT)\n"
	"      --record BYTES    size of a record (100)\n"
	"      --key OFFSET:LEN  which bytes of a record are its key (0:10, or all of a\n"
	"                        shorter record)\n"
	"      --lines           records are lines, compared byte by byte: what sort(1) does\n"
	"                        with LC_ALL=C. A last line without a newline gets one\n"
	"      --mem SIZE        memory for all data, at least 4M (half of what is available;\n"
	"                        256M with --demo)\n"
	"      --spill-dir DIR   where data goes that does not fit ($TMPDIR, or /var/tmp)\n"
	"      --threads N       worker threads (one per CPU this process may use)\n"
	"      --gpu             partition on the GPUs, three batches at a time on each. Without\n"
	"                        one the job fails; WEFT_GPU=sim simulates one. Not for lines\n"
	"      --check           prove more: every output record is the very input record\n"
	"                        it came from, none is used twice, equal keys are in\n"
	"                        input order\n"
	"      --compare         also run GNU sort on the same data with the same threads,\n"
	"                        memory and spill directory, and compare time and bytes; the\n"
	"                        records must be lines\n"
	"      --floor           also measure the machine's floor: the same bytes read, spilled,\n"
	"                        restored and written without a look at them\n"
	"      --fsync           have the output on disk before it gets its name\n"
	"      --json            print the report as JSON\n"
	"      --quiet           print no report\n"
	"      --trace FILE      write a timeline of all tasks for Perfetto or\n"
	"                        chrome://tracing\n"
	"\n"
	"      --demo SIZE       generate SIZE bytes of records (500k, 256M, 1G, 1Gi), sort\n"
	"                        them, and measure the floor\n"
	"      --skew            few keys with many records each, not uniform keys\n"
	"      --seed N          another set of records (1)\n"
	"      --dir DIR         where the demo's files go ($TMPDIR, or /var/tmp)\n"
	"      --keep            keep the generated input\n"
	"\n"
	"  -h, --help            this text\n"
	"      --version         the version\n"
	"\n"
	"Exit status: 0 sorted and checked, 1 the job failed, 2 usage, 130 interrupted.\n";

enum option_code {
	OPTION_RECORD = 256,
	OPTION_KEY,
	OPTION_LINES,
	OPTION_MEMORY,
	OPTION_SPILL_DIR,
	OPTION_THREADS,
	OPTION_GPU,
	OPTION_CHECK,
	OPTION_COMPARE,
	OPTION_FLOOR,
	OPTION_FSYNC,
	OPTION_JSON,
	OPTION_QUIET,
	OPTION_TRACE,
	OPTION_DEMO,
	OPTION_SKEW,
	OPTION_SEED,
	OPTION_DIR,
	OPTION_KEEP,
	OPTION_VERSION
};

static const struct option long_options[] = {
	{ "output", required_argument, NULL, 'o' },
	{ "record", required_argument, NULL, OPTION_RECORD },
	{ "key", required_argument, NULL, OPTION_KEY },
	{ "lines", no_argument, NULL, OPTION_LINES },
	{ "mem", required_argument, NULL, OPTION_MEMORY },
	{ "spill-dir", required_argument, NULL, OPTION_SPILL_DIR },
	{ "threads", required_argument, NULL, OPTION_THREADS },
	{ "gpu", no_argument, NULL, OPTION_GPU },
	{ "check", no_argument, NULL, OPTION_CHECK },
	{ "compare", no_argument, NULL, OPTION_COMPARE },
	{ "floor", no_argument, NULL, OPTION_FLOOR },
	{ "fsync", no_argument, NULL, OPTION_FSYNC },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "quiet", no_argument, NULL, OPTION_QUIET },
	{ "trace", required_argument, NULL, OPTION_TRACE },
	{ "demo", required_argument, NULL, OPTION_DEMO },
	{ "skew", no_argument, NULL, OPTION_SKEW },
	{ "seed", required_argument, NULL, OPTION_SEED },
	{ "dir", required_argument, NULL, OPTION_DIR },
	{ "keep", no_argument, NULL, OPTION_KEEP },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ NULL, 0, NULL, 0 },
};

void wf_sort_complain(const char *format, ...)
{
	va_list list;

	wf_sort_progress_end();
	fputs("weft-sort: ", stderr);
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fputc('\n', stderr);
}

/* A decimal number up to `most`, ended by `*end` or the string's end when `end` is NULL. */
static bool read_number(const char *text, uint64_t most, uint64_t *value, const char **end)
{
	char *stop;

	if (text[0] < '0' || text[0] > '9')
		return false; /* strtoull would take signs and blanks */
	errno = 0;
	*value = strtoull(text, &stop, 10);
	if (errno || *value > most || (!end && *stop))
		return false;
	if (end)
		*end = stop;
	return true;
}

/* Bytes with a decimal suffix (k, M, G, T: powers of 1000) or a binary one (Ki, Mi, ...). */
static bool read_size(const char *text, uint64_t *value)
{
	static const char suffixes[] = "KMGT";
	const char *end, *suffix;
	uint64_t unit = 1, base;

	if (!read_number(text, INT64_MAX, value, &end))
		return false;
	if (*end) {
		suffix = strchr(suffixes, *end == 'k' ? 'K' : *end);
		if (!suffix)
			return false;
		end++;
		base = *end == 'i' ? 1024 : 1000;
		end += *end == 'i';
		end += *end == 'B';
		for (ptrdiff_t i = 0; i <= suffix - suffixes; i++)
			unit *= base;
	}
	if (*end || *value > INT64_MAX / unit)
		return false;
	*value *= unit;
	return true;
}

static bool read_key(const char *text, struct wf_sort_options *options)
{
	uint64_t offset, bytes;
	const char *end;

	if (!read_number(text, UINT32_MAX, &offset, &end) || *end != ':')
		return false;
	if (!read_number(end + 1, UINT32_MAX, &bytes, NULL) || bytes == 0)
		return false;
	options->key_offset = (uint32_t)offset;
	options->key_bytes = (uint32_t)bytes;
	return true;
}

static bool bad_value(const char *name, const char *value, const char *wanted)
{
	wf_sort_complain("%s %s: %s", name, value, wanted);
	return false;
}

/* The options that carry a value. False: complained. */
static bool take_value(int code, const char *value, struct wf_sort_options *options)
{
	uint64_t number = 0;

	switch (code) {
	case 'o':
		options->output = value;
		return true;
	case OPTION_TRACE:
		options->trace = value;
		return true;
	case OPTION_DIR:
		options->dir = value;
		return true;
	case OPTION_SPILL_DIR:
		options->spill_dir = value;
		return true;
	case OPTION_MEMORY:
		if (!read_size(value, &options->memory) || options->memory < WF_SORT_MEMORY_MIN)
			return bad_value("--mem", value, "want a size of at least 4M");
		return true;
	case OPTION_KEY:
		return read_key(value, options) ||
			bad_value("--key", value, "want OFFSET:LEN, as in 0:10, LEN at least 1");
	case OPTION_RECORD:
		if (!read_number(value, 1u << 30, &number, NULL) || number == 0)
			return bad_value("--record", value, "want bytes from 1 to 2^30");
		options->record_bytes = (uint32_t)number;
		return true;
	case OPTION_THREADS:
		if (!read_number(value, THREADS_MAX, &number, NULL) || number == 0)
			return bad_value("--threads", value, "want a number from 1 to 1024");
		options->threads = (uint32_t)number;
		return true;
	case OPTION_SEED:
		return read_number(value, UINT64_MAX, &options->seed, NULL) ||
			bad_value("--seed", value, "want a number");
	default:
		options->demo = true;
		return read_size(value, &options->demo_bytes) ||
			bad_value("--demo", value,
		                  "want a size such as 100000000, 256M, 1G or 1Gi");
	}
}

static void take_flag(int code, struct wf_sort_options *options)
{
	switch (code) {
	case OPTION_GPU:
		options->gpu = true;
		break;
	case OPTION_CHECK:
		options->check = true;
		break;
	case OPTION_COMPARE:
		options->compare = true;
		break;
	case OPTION_LINES:
		options->lines = true;
		break;
	case OPTION_FLOOR:
		options->floor = true;
		break;
	case OPTION_FSYNC:
		options->sync = true;
		break;
	case OPTION_JSON:
		options->json = true;
		break;
	case OPTION_QUIET:
		options->quiet = true;
		break;
	case OPTION_SKEW:
		options->skew = true;
		break;
	default:
		WF_CHECK(code == OPTION_KEEP);
		options->keep = true;
		break;
	}
}

/* What the options say together. NULL, or what is wrong. */
static const char *contradiction(struct wf_sort_options *options, int names)
{
	if (options->lines && options->key_bytes)
		return "--lines and --key contradict each other";
	if (options->lines && options->record_bytes && !options->demo)
		return "--lines and --record contradict each other";
	if (options->lines && options->gpu)
		return "--lines and --gpu contradict each other";
	if (options->record_bytes == 0)
		options->record_bytes = 100;
	if (options->key_bytes == 0)
		options->key_bytes = options->record_bytes < 10 ? options->record_bytes : 10;
	if ((uint64_t)options->key_offset + options->key_bytes > options->record_bytes)
		return "the key reaches past the end of the record";
	if (options->json && options->quiet)
		return "--json and --quiet contradict each other";
	if (options->demo)
		return names ? "--demo takes no INPUT" : NULL;
	if (options->skew || options->keep || options->dir || options->seed != 1)
		return "--skew, --seed, --dir and --keep belong to --demo";
	if (names == 0)
		return "INPUT is missing";
	if (names > 1)
		return "more than one INPUT";
	if (!options->output)
		return "-o OUTPUT is missing";
	return NULL;
}

static void set_defaults(struct wf_sort_options *options)
{
	const char *temporary = getenv("TMPDIR");

	if (!temporary || !temporary[0])
		temporary = access("/var/tmp", W_OK) == 0 ? "/var/tmp" : "/tmp";
	if (options->demo && !options->dir)
		options->dir = temporary;
	if (!options->spill_dir)
		options->spill_dir = options->demo ? options->dir : temporary;
	if (options->demo && !options->memory)
		options->memory = MEMORY_DEMO;
	options->floor |= options->demo;
}

bool wf_sort_options_read(int argc, char **argv, struct wf_sort_options *options, int *exit_code)
{
	const char *problem;
	int code;

	*options = (struct wf_sort_options){ .seed = 1 };
	*exit_code = WF_SORT_USAGE;
	opterr = 0;
	while ((code = getopt_long(argc, argv, ":ho:", long_options, NULL)) != -1) {
		if (code == 'h' || code == OPTION_VERSION) {
			fputs(code == 'h' ? help_text : "weft-sort " WF_SORT_VERSION "\n", stdout);
			*exit_code = fflush(stdout) ? WF_SORT_FAILED : WF_SORT_DONE;
			return false;
		}
		if (code == '?' || code == ':') {
			wf_sort_complain("%s: %s; see --help", argv[optind - 1],
			                 code == ':' ? "a value is missing" : "no such option");
			return false;
		}
		if (!optarg)
			take_flag(code, options);
		else if (!take_value(code, optarg, options))
			return false;
		optarg = NULL;
	}
	problem = contradiction(options, argc - optind);
	if (problem) {
		wf_sort_complain("%s; see --help", problem);
		return false;
	}
	options->input = argv[optind];
	set_defaults(options);
	return true;
}
