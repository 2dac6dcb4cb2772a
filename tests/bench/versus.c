/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * versus ROUNDS PREFIX RATIOS NAME=COMMAND...: have several programs measure the same cells by turns.
 *
 * In each round each cell is measured by all contestants one after the other, starting with another
 * one each time, before the next cell. Prints "PREFIX.NAME.CELL.UNIT median", and the ratios that the
 * file RATIOS asks for, each the median of the quotients of each round: what slows down a whole
 * round cancels out.
 *
 * RATIOS has lines "OVER UNDER TARGET", OVER and UNDER as NAME.CELL.UNIT. A target above 1 is what the
 * quotient may be at most; "-": there is none. Lines that begin with # are skipped.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WHO_MAX     16
#define CELLS_MAX   128
#define FIGURES_MAX 4096
#define ROUNDS_MAX  1001

struct contestant {
	const char *name, *command;
	FILE *to, *from;
	pid_t pid;
};

struct figure {
	char name[192];
	double *values; /* by round */
	unsigned int count;
};

static struct contestant who[WHO_MAX];
static unsigned int whos;
static char cells[CELLS_MAX][128];
static unsigned int cell_count;
static struct figure figures[FIGURES_MAX];
static unsigned int figure_count;
static unsigned int rounds;

static void die(const char *what, const char *name)
{
	fprintf(stderr, "versus: %s: %s\n", name, what);
	exit(1);
}

static struct figure *figure_of(const char *name, bool make)
{
	for (unsigned int i = 0; i < figure_count; i++)
		if (!strcmp(figures[i].name, name))
			return &figures[i];
	if (!make)
		return NULL;
	if (figure_count == FIGURES_MAX)
		die("too many figures", name);
	snprintf(figures[figure_count].name, sizeof(figures[0].name), "%s", name);
	figures[figure_count].values = calloc(rounds, sizeof(double));
	if (!figures[figure_count].values)
		die("out of memory", name);
	return &figures[figure_count++];
}

/* Read what a contestant says, up to a line with a dot. */
static void hear(struct contestant *own, void (*say)(struct contestant *own, char *line))
{
	char line[128];

	while (fgets(line, sizeof(line), own->from)) {
		line[strcspn(line, "\n")] = 0;
		if (!strcmp(line, "."))
			return;
		say(own, line);
	}
	die("it ended early", own->name);
}

static void say_cell(struct contestant *own, char *line)
{
	if (own != who)
		return;
	if (cell_count == CELLS_MAX)
		die("too many cells", own->name);
	snprintf(cells[cell_count++], sizeof(cells[0]), "%s", line);
}

static void say_value(struct contestant *own, char *line)
{
	char *space = strchr(line, ' '), name[192];
	struct figure *figure;

	if (!space)
		die("no value", own->name);
	*space = 0;
	snprintf(name, sizeof(name), "%s.%s", own->name, line);
	figure = figure_of(name, true);
	if (figure->count < rounds)
		figure->values[figure->count++] = atof(space + 1);
}

static void start(struct contestant *own)
{
	int to[2], from[2];

	if (pipe(to) || pipe(from))
		die("no pipe", own->name);
	own->pid = fork();
	if (own->pid < 0)
		die("no process", own->name);
	if (!own->pid) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		for (int fd = 3; fd < 256; fd++)
			close(fd);
		execl("/bin/sh", "sh", "-c", own->command, (char *)NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	own->to = fdopen(to[1], "w");
	own->from = fdopen(from[0], "r");
	if (!own->to || !own->from)
		die("no stream", own->name);
	hear(own, say_cell);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(const double *values, unsigned int count)
{
	static double sorted[ROUNDS_MAX];

	memcpy(sorted, values, count * sizeof(*values));
	qsort(sorted, count, sizeof(*sorted), compare);
	return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

static void print_ratio(const char *over_name, const char *under_name, const char *target)
{
	const struct figure *over = figure_of(over_name, false);
	const struct figure *under = figure_of(under_name, false);
	static double quotients[ROUNDS_MAX];
	double ratio;

	/* Contestants that were left out today. */
	if (!over || !under)
		return;
	for (unsigned int i = 0; i < over->count; i++)
		quotients[i] = over->values[i] / under->values[i];
	ratio = median(quotients, over->count);
	printf("%s/%s %.3f", over_name, under_name, ratio);
	if (atof(target) > 0)
		printf(" <=%s %s", target, ratio < atof(target) + 0.005 ? "met" : "missed");
	printf("\n");
}

static void print_ratios(const char *path)
{
	char line[512], over[192], under[192], target[16];
	FILE *file = fopen(path, "r");

	if (!file)
		die("no such file", path);
	while (fgets(line, sizeof(line), file))
		if (line[0] != '#' && sscanf(line, "%191s %191s %15s", over, under, target) == 3)
			print_ratio(over, under, target);
	fclose(file);
}

int main(int argc, char **argv)
{
	if (argc < 5)
		die("ROUNDS PREFIX RATIOS NAME=COMMAND...", "usage");
	rounds = (unsigned int)atoi(argv[1]);
	if (!rounds || rounds > ROUNDS_MAX)
		die("not a number of rounds", argv[1]);
	for (int i = 4; i < argc && whos < WHO_MAX; i++) {
		char *equals = strchr(argv[i], '=');

		if (!equals)
			die("not NAME=COMMAND", argv[i]);
		*equals = 0;
		who[whos++] = (struct contestant){.name = argv[i], .command = equals + 1};
	}
	for (unsigned int i = 0; i < whos; i++)
		start(&who[i]);
	for (unsigned int round = 0; round < rounds; round++) {
		for (unsigned int cell = 0; cell < cell_count; cell++) {
			for (unsigned int i = 0; i < whos; i++) {
				struct contestant *own = &who[(i + round + cell) % whos];

				fprintf(own->to, "%u\n", cell);
				fflush(own->to);
				hear(own, say_value);
			}
		}
	}
	for (unsigned int i = 0; i < whos; i++) {
		fclose(who[i].to);
		waitpid(who[i].pid, NULL, 0);
	}
	for (unsigned int i = 0; i < figure_count; i++)
		printf("%s.%s %.1f\n", argv[2], figures[i].name,
		       median(figures[i].values, figures[i].count));
	print_ratios(argv[3]);
	return 0;
}
