/* Runs all events on a PC, each several times: "S name n", "E sum". */
#include "events.h"
#include "guest.h"

#define REPETITIONS 7

void handle_page_faults(void);

void run(const char *command) {
	(void)command;
	handle_page_faults();
	for (int which = 0; which < nevents; which++) events[which].run(events[which].n);
	/* By turns: of two the difference is taken. */
	for (int k = 0; k < REPETITIONS; k++)
		for (const struct event *e = events; e < events + nevents; e++) {
			text("S "); text(e->name); put(' '); number(e->n); put('\n');
			u32 sum = e->run(e->n);
			text("E "); hex(sum); put('\n');
		}
	text("DONE\n");
	power_off();
}
