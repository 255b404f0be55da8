// A shell of one feature: it runs the program that a line names, with the words after it, and waits.
#include "system.h"

static const char *prompt[] = {"$ "};
static char line[128];
static char *words[16];

static int read_line(void) {
  int length = 0;
  while (length < (int)sizeof line - 1) {
    if (call(READ, 0, (long)&line[length], 1) < 1) return length;
    if (line[length++] == '\n') break;
  }
  line[length] = 0;
  return length;
}

static int split(void) {
  int count = 0;
  for (char *at = line; *at && count < 15;) {
    while (*at == ' ' || *at == '\n') *at++ = 0;
    if (*at) words[count++] = at;
    while (*at && *at != ' ' && *at != '\n') at++;
  }
  words[count] = 0;
  return count;
}

void start(void) {
  for (;;) {
    say(2, prompt[0]);
    if (read_line() == 0) call(EXIT, 0, 0, 0);
    if (split() == 0) continue;
    long child = call(FORK, 0, 0, 0);
    if (child == 0) {
      call(EXEC, (long)words[0], (long)words, 0);
      say(2, "no such program\n");
      call(EXIT, 1, 0, 0);
    }
    if (child > 0) call(WAIT, 0, 0, 0);
  }
}
