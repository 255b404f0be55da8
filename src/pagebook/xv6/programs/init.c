// The first program: opens the console three times over, keeps one shell running, and collects the orphans.
#include "system.h"

static char *shell[] = {"sh", 0};
static long shells_started;

void start(void) {
  if (call(OPEN, (long)"console", READ_WRITE, 0) < 0) {
    call(MKNOD, (long)"console", CONSOLE_DEVICE, 0);
    call(OPEN, (long)"console", READ_WRITE, 0);
  }
  call(DUP, 0, 0, 0);
  call(DUP, 0, 0, 0);
  for (;;) {
    say(1, "pagebook init: starting sh\n");
    shells_started++;
    long child = call(FORK, 0, 0, 0);
    if (child == 0) {
      call(EXEC, (long)shell[0], (long)shell, 0);
      say(2, "pagebook init: there is no sh\n");
      call(EXIT, 1, 0, 0);
    }
    while (child > 0) {
      long ended = call(WAIT, 0, 0, 0);
      if (ended == child || ended < 0) break;
    }
    if (child < 0) call(EXIT, 1, 0, 0);
  }
}
