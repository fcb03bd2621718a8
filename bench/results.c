/*
 * results.c: reads a results file: JSON of the known shape, by recursive descent. Unknown keys
 * are skipped whatever their value, so that older programs read newer files; anything that is no
 * JSON is refused with its line. Depth and length are bounded.
 */
#include "results.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX ((size_t)16 << 20)
#define DEPTH_MAX      16

struct reader {
	const char *at;
	const char *begin;
	const char *error; /* the first one */
};

static void fail(struct reader *r, const char *error)
{
	if (!r->error)
		r->error = error;
}

static char peek(struct reader *r)
{
	while (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r')
		r->at++;
	return *r->at;
}

static bool accept(struct reader *r, char c)
{
	if (r->error || peek(r) != c)
		return false;
	r->at++;
	return true;
}

static void expect(struct reader *r, char c, const char *error)
{
	if (!accept(r, c))
		fail(r, error);
}

/* A string, cut to `size`. Escapes of two characters are taken; \u becomes a question mark. */
static void read_string(struct reader *r, char *out, size_t size)
{
	size_t used = 0;
	expect(r, '"', "a string was expected");
	while (!r->error && *r->at != '"') {
		char c = *r->at++;
		if (c == '\\') {
			c = *r->at ? *r->at++ : 0;
			if (c == 'u') {
				for (int i = 0; i < 4 && *r->at && *r->at != '"'; i++)
					r->at++;
				c = '?';
			} else if (c == 'n' || c == 't') {
				c = ' ';
			}
		}
		if (!c) {
			fail(r, "a string does not end");
			return;
		}
		if (used + 1 < size)
			out[used++] = c;
	}
	if (size)
		out[used] = 0;
	expect(r, '"', "a string does not end");
}

static double read_number(struct reader *r)
{
	char *end;
	peek(r);
	const double value = strtod(r->at, &end);
	if (end == r->at)
		fail(r, "a number was expected");
	r->at = end;
	return value;
}

static bool read_word(struct reader *r, const char *word)
{
	peek(r);
	const size_t n = strlen(word);
	if (strncmp(r->at, word, n))
		return false;
	r->at += n;
	return true;
}

static void skip_value(struct reader *r, int depth)
{
	char key[8];
	if (depth > DEPTH_MAX)
		fail(r, "nested too deep");
	if (r->error)
		return;
	if (peek(r) == '"') {
		read_string(r, key, sizeof key);
	} else if (accept(r, '{')) {
		while (!r->error && peek(r) != '}') {
			read_string(r, key, sizeof key);
			expect(r, ':', "a colon was expected");
			skip_value(r, depth + 1);
			if (!accept(r, ','))
				break;
		}
		expect(r, '}', "an object does not end");
	} else if (accept(r, '[')) {
		while (!r->error && peek(r) != ']') {
			skip_value(r, depth + 1);
			if (!accept(r, ','))
				break;
		}
		expect(r, ']', "a list does not end");
	} else if (!read_word(r, "true") && !read_word(r, "false") && !read_word(r, "null")) {
		read_number(r);
	}
}

/* A machine fact of any simple kind, kept as its text. */
static void read_fact(struct reader *r, struct bench_file *file, const char *key)
{
	struct bench_fact *fact = &file->facts[file->fact_count];
	const char kind = peek(r);
	if (file->fact_count == BENCH_FACTS_MAX || kind == '{' || kind == '[') {
		skip_value(r, 0);
		return;
	}
	snprintf(fact->key, sizeof fact->key, "%s", key);
	if (kind == '"') {
		read_string(r, fact->value, sizeof fact->value);
	} else {
		const char *begin = r->at;
		skip_value(r, 0);
		snprintf(fact->value, sizeof fact->value, "%.*s", (int)(r->at - begin), begin);
	}
	file->fact_count++;
}

static void read_field(struct reader *r, struct bench_figure *row, const char *key)
{
	const struct {
		const char *key;
		double *value;
	} numbers[] = {
		{ "threads", &row->threads }, { "median", &row->median }, { "p10", &row->p10 },
		{ "p90", &row->p90 },         { "n", &row->n },
	};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		if (!strcmp(key, numbers[i].key)) {
			*numbers[i].value = read_number(r);
			return;
		}
	}
	if (!strcmp(key, "name"))
		read_string(r, row->name, sizeof row->name);
	else if (!strcmp(key, "engine"))
		read_string(r, row->engine, sizeof row->engine);
	else if (!strcmp(key, "unit"))
		read_string(r, row->unit, sizeof row->unit);
	else if (!strcmp(key, "checked"))
		row->checked = read_word(r, "true") || (skip_value(r, 0), false);
	else
		skip_value(r, 0);
}

static void read_row(struct reader *r, struct bench_file *file)
{
	char key[32];
	struct bench_figure *more = realloc(file->rows, (file->row_count + 1) * sizeof *more);
	if (!more) {
		fail(r, "out of memory");
		return;
	}
	file->rows = more;
	struct bench_figure *row = &file->rows[file->row_count++];
	*row = (struct bench_figure){ .name = "" };
	expect(r, '{', "a row was expected");
	while (!r->error && peek(r) != '}') {
		read_string(r, key, sizeof key);
		expect(r, ':', "a colon was expected");
		if (!r->error)
			read_field(r, row, key);
		if (!accept(r, ','))
			break;
	}
	expect(r, '}', "a row does not end");
	if (!r->error && (!row->name[0] || !row->engine[0]))
		fail(r, "a row has no name or no engine");
}

static void read_rows(struct reader *r, struct bench_file *file)
{
	expect(r, '[', "the rows must be a list");
	while (!r->error && peek(r) != ']') {
		read_row(r, file);
		if (!accept(r, ','))
			break;
	}
	expect(r, ']', "the list of rows does not end");
}

static void read_machine(struct reader *r, struct bench_file *file)
{
	char key[32];
	expect(r, '{', "the machine must be an object");
	while (!r->error && peek(r) != '}') {
		read_string(r, key, sizeof key);
		expect(r, ':', "a colon was expected");
		if (!r->error)
			read_fact(r, file, key);
		if (!accept(r, ','))
			break;
	}
	expect(r, '}', "the machine does not end");
}

static void read_document(struct reader *r, struct bench_file *file)
{
	char key[32];
	expect(r, '{', "this is no results file");
	while (!r->error && peek(r) != '}') {
		read_string(r, key, sizeof key);
		expect(r, ':', "a colon was expected");
		if (r->error)
			break;
		if (!strcmp(key, "machine"))
			read_machine(r, file);
		else if (!strcmp(key, "rows"))
			read_rows(r, file);
		else
			skip_value(r, 0);
		if (!accept(r, ','))
			break;
	}
	expect(r, '}', "the file does not end");
	if (!r->error && peek(r))
		fail(r, "something follows the end");
	if (!r->error && file->row_count == 0)
		fail(r, "there are no rows");
}

static char *slurp(const char *path)
{
	FILE *file = fopen(path, "re");
	char *text = file ? malloc(FILE_BYTES_MAX) : NULL;
	size_t n = 0;
	if (text)
		n = fread(text, 1, FILE_BYTES_MAX, file);
	if (!text || ferror(file) || n == FILE_BYTES_MAX) {
		fprintf(stderr, "weft-bench: %s: %s\n", path,
		        n == FILE_BYTES_MAX ? "too large" : strerror(errno));
		free(text);
		text = NULL;
	} else {
		text[n] = 0;
	}
	if (file)
		fclose(file);
	return text;
}

int bench_file_read(struct bench_file *file, const char *path)
{
	*file = (struct bench_file){ .fact_count = 0 };
	char *text = slurp(path);
	if (!text)
		return -1;
	struct reader r = { .at = text, .begin = text };
	read_document(&r, file);
	if (r.error) {
		unsigned line = 1;
		for (const char *p = r.begin; p < r.at; p++)
			line += *p == '\n';
		fprintf(stderr, "weft-bench: %s:%u: %s\n", path, line, r.error);
		bench_file_fini(file);
	}
	free(text);
	return r.error ? -1 : 0;
}

void bench_file_fini(struct bench_file *file)
{
	free(file->rows);
	*file = (struct bench_file){ .fact_count = 0 };
}
